"""Terms of what happens around the step: input, evaluation."""

from simdml.cli.glossary.term import Term

DATALOADER = "pytorch/pytorch, torch/utils/data/dataloader.py"

TERMS = (
    Term(
        "input pipeline",
        "How training data come to a GPU: read from storage, decoded by worker processes on the cores of the node, "
        "copied to the GPU, each batch while earlier ones are trained. Stages work side by side, with as many batches "
        "under way as workers x prefetch.",
        "samples/s = min(training, workers x decode rate, cores x decode rate, storage / bytes of a sample)",
        "samples/s",
        DATALOADER,
        ("input", "data loading", "data stall", "loader workers", "prefetch"),
    ),
    Term(
        "evaluation",
        "Forward passes over held-out samples every so many training steps, by the same ranks with the same shards. It "
        "is not part of a step: throughput is given with and without it.",
        "samples/s x (every x step time) / (every x step time + passes x time of a pass)",
        "samples/s",
        "simdml, results/evaluation.py",
        ("validation pass", "with evaluation"),
    ),
    Term(
        "straggler",
        "A GPU or node that is slower than its like; in synchronous training all wait for it. faults names it, "
        "or draws a share of them with the seed, slow by a given factor or by 1 and a lognormal or exponential excess.",
        "step = mean computing x max over ranks of the factor + what no rank computes in",
        "s",
        "simdml, scenario/stragglers.py",
        ("slow GPU", "fail-slow", "faults"),
    ),
    Term(
        "skew",
        "GPUs of one kind differ by a percent or two; ranks that wait for each other all take as long as the slowest, "
        "which is the slower the more there are. faults: [{skew: 1.5 %}] gives the standard deviation.",
        "kernels x (1 + skew x mean of the largest of n standard normal numbers, below sqrt(2 ln n))",
        "%",
        "simdml, scenario/skew.py",
        ("synchronisation skew", "straggling that grows with scale"),
    ),
    Term(
        "batch share",
        "On clusters with GPUs of several kinds, how many samples a GPU of each group of nodes trains, relative to the "
        "others: the faster need not wait. training.batch_share; all train as many without.",
        "global batch x share / sum of all GPUs' shares",
        "samples",
        "simdml, scenario/shares.py",
        ("batch_share",),
    ),
)
