"""Terms of parameter servers."""

from simdml.cli.glossary.term import Term

TERMS = (
    Term(
        "bounded delay",
        "A worker begins a step when what it asked for up to d steps before the last one is there: d + 1 steps are "
        "under way at once. Servers still sum one gradient of every worker for each version.",
        "d = 0 is BSP; a lone worker's step is max(C, P, L, (C + P + L) / (d + 1)) for compute C, push P, pull L",
        "steps",
        "Li et al., OSDI 2014, section 3.4",
    ),
    Term(
        "backup workers",
        "A synchronous step takes the first N of N + b gradients; those of the b slowest workers are dropped when they "
        "come, and what they trained on does not count as trained.",
        "step = N-th fastest of N + b workers + update",
        "workers",
        "Chen et al., arXiv 1604.00981; tensorflow/python/training/sync_replicas_optimizer.py",
        ("SyncReplicasOptimizer", "backup"),
    ),
)
