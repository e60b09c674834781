"""Terms of a result: times, rates and where a step goes."""

from simdml.cli.glossary.term import Term

PALM = "Chowdhery et al., PaLM, arXiv 2204.02311, appendix B"
SC21 = "Narayanan et al., SC21, arXiv 2104.04473"

TERMS = (
    Term(
        "step time",
        "From the end of one training step to the end of the next on the slowest rank, in the steady state. "
        "Asynchronous workers have no common step: there it is the mean time between one worker's steps.",
        "end of step k - end of step k-1",
        "s",
        "simdml, engine/simulator.py",
        ("iteration time",),
    ),
    Term(
        "throughput",
        "Samples (or tokens) the whole job trains each second.",
        "global batch / step time",
        "samples/s, tokens/s",
        "simdml, results/analysis.py",
        ("samples/s", "tokens/s"),
    ),
    Term(
        "global batch",
        "Samples one step trains over all data-parallel replicas.",
        "micro-batch x micro-batches x replicas",
        "samples",
        SC21,
        ("batch size",),
    ),
    Term(
        "micro-batch",
        "Samples that pass forward and backward together on one replica; gradients of several are summed.",
        "b in samples; a replica trains B / (dp x b) of them",
        "samples",
        "Huang et al., GPipe, NeurIPS 2019",
        ("microbatch",),
    ),
    Term(
        "gradient accumulation",
        "Several micro-batches are trained one after another and their gradients summed before they are reduced.",
        unit="micro-batches",
        source="PyTorch DistributedDataParallel.no_sync",
    ),
    Term(
        "model FLOPs",
        "FLOPs of matrix products, convolutions and attention in forward and backward, without recomputation.",
        "about 6 x parameters x tokens for a transformer, and attention",
        "FLOP",
        PALM,
    ),
    Term(
        "MFU",
        "Model FLOPs utilisation: model FLOPs each second over the dense peak of the devices in the training "
        "precision. Recomputation does not count.",
        "model FLOPs / (step time x GPUs x peak)",
        "%",
        PALM,
        ("model FLOPs utilisation",),
    ),
    Term(
        "HFU",
        "Hardware FLOPs utilisation: as MFU, with recomputed FLOPs counted.",
        "executed FLOPs / (step time x GPUs x peak)",
        "%",
        PALM,
        ("hardware FLOPs utilisation",),
    ),
    Term(
        "critical path",
        "The chain of operations, each begun when the one before it ended, that fills the step. Shortening anything "
        "off the path changes nothing; its pieces add up to the step time exactly.",
        "sum of its segments = step time",
        "s",
        "simdml, results/critical_path.py",
    ),
    Term(
        "exposed communication",
        "Time in which a rank's compute waits for data to move. What overlaps with compute is not exposed.",
        "step time - compute - bubble - launch - waiting for others",
        "s",
        "simdml, results/accounting.py",
        (
            "exposed dp",
            "exposed dp_shard",
            "exposed dp_replicate",
            "exposed tp",
            "exposed pp",
            "exposed cp",
            "exposed ep",
        ),
    ),
    Term(
        "bubble",
        "Time a pipeline stage has nothing to do because micro-batches have not come yet or have all gone.",
        "GPipe and 1F1B: (p-1)(F+B); interleaved with v chunks: (p-1)(F+B)/v",
        "s",
        f"{SC21}, section 2.2",
        ("pipeline bubble",),
    ),
    Term(
        "launch",
        "Time a device waits because the host has not issued its next kernel yet.",
        "sum over kernels of host time, where it exceeds device time",
        "s",
        "simdml, engine/lowering.py",
        ("launch overhead",),
    ),
    Term(
        "waiting for peers",
        "Time in a collective before its slowest member has come.",
        unit="s",
        source="simdml, results/accounting.py",
    ),
    Term(
        "server wait",
        "Time a worker waits for a parameter server to sum gradients, update, or answer.",
        unit="s",
        source="simdml, results/accounting.py",
    ),
    Term(
        "tick",
        "The grain of simulated time. Every duration is rounded to a multiple of it, so sums are exact and equal runs "
        "give equal bytes.",
        "2^-40 s = 0.91 ps",
        "s",
        "simdml, engine/clock.py",
    ),
    Term(
        "folding",
        "Simulating one representative of all ranks that do the same at the same place. It is exact: links carry the "
        "traffic of everybody.",
        source="simdml, engine/folding.py",
        aliases=("symmetry",),
    ),
    Term(
        "roofline",
        "A kernel takes at least its FLOPs over the arithmetic peak and its bytes over the memory bandwidth; a profile "
        "gives the share of each that kernels reach.",
        "max(FLOP / (e x peak), bytes / (e' x bandwidth)) + overhead",
        "s",
        "Williams, Waterman and Patterson, CACM 52(4), 2009",
    ),
    Term(
        "profile",
        "A named set of measured coefficients of one device and one generation of software, with sources.",
        source="simdml list profiles",
    ),
)
