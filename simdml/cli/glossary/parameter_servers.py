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
    Term(
        "credit",
        "How many messages a scheduler lets be under way at once: few, and urgent ones soon get their turn; many, and "
        "links never idle between them.",
        unit="messages",
        source="Peng et al., ByteScheduler, SOSP 2019",
        aliases=("window",),
    ),
    Term(
        "priority scheduling",
        "What the next forward needs first is sent first, whatever backward made first, and every layer starts when "
        "its own parameters are there.",
        source="Jayarajan et al., P3, MLSys 2019",
        aliases=("P3", "priority"),
    ),
    Term(
        "partition",
        "A piece of a tensor that is sent, summed and placed by itself: smaller pieces overlap better and cost more "
        "messages.",
        "BytePS 4,096,000 bytes; P3 40,000 parameters",
        "B",
        "bytedance/byteps, byteps/common/global.cc; apache/mxnet, src/kvstore/p3store_dist.h",
        ("slice",),
    ),
    Term(
        "big array",
        "In MXNet, an array of at least MXNET_KVSTORE_BIGARRAY_BOUND elements is cut over all servers; smaller ones "
        "stay whole on server key x 9973 mod S, and the server with the most bytes decides.",
        "1,000,000 elements by default",
        "elements",
        "apache/mxnet, src/kvstore/kvstore_dist.h",
    ),
    Term(
        "KVStore",
        "MXNet's store of parameters. dist_sync sums a node's gradients on its CPU, dist_device_sync on its GPUs; "
        "dist_async applies them as they come. Here: mxnet_dist_sync, mxnet_dist_device_sync, mxnet_dist_async and "
        "mxnet_p3.",
        source="apache/mxnet, src/kvstore",
        aliases=("dist_sync", "dist_device_sync", "dist_async"),
    ),
    Term(
        "n_fetch",
        "Steps that a Downpour replica trains on with what it fetched; n_push are the steps it adds up before it "
        "pushes. In scenarios pull_every and push_every.",
        "a lone replica's step is C + L / n_fetch + P / n_push for compute C, fetch L, push P",
        "steps",
        "Dean et al., DistBelief, NeurIPS 2012",
        ("n_push", "pull_every", "push_every"),
    ),
    Term(
        "portion",
        "A micro-batch that a coordinator hands to whichever worker is free. Near the end of a batch those still under "
        "way are done again by others; the first result counts, and the rest is duplicate work.",
        source="Dean et al., DistBelief, NeurIPS 2012, section 4.2",
        aliases=("duplicate work", "coordinator"),
    ),
)
