"""Terms of parallel training."""

from simdml.cli.glossary.term import Term

SC21 = "Narayanan et al., SC21, arXiv 2104.04473"
MEGATRON = "Shoeybi et al., Megatron-LM, arXiv 1909.08053"
DDP = "Li et al., PyTorch Distributed, VLDB 2020"
PARAMETER_SERVER = "Li et al., OSDI 2014"

TERMS = (
    Term(
        "data parallel",
        "Every replica holds the model, trains its own samples, and all agree on the mean gradient.",
        "dp replicas = GPUs / (tp x pp)",
        "replicas",
        DDP,
        ("dp",),
    ),
    Term(
        "ddp",
        "PyTorch's DistributedDataParallel: gradients in buckets, all-reduced while backward goes on.",
        source=DDP,
        aliases=("DistributedDataParallel",),
        is_strategy=True,
    ),
    Term(
        "bucket",
        "Gradients all-reduced together, in the order backward makes them: few large messages instead of many small.",
        "closes at 1 MiB (first) or 25 MiB (others) by default",
        "B",
        "torch/csrc/distributed/c10d/reducer.cpp",
        ("bucket cap",),
    ),
    Term(
        "tensor parallel",
        "Matrices of a layer are cut over GPUs, which all-reduce partial sums: twice in forward and twice in backward "
        "of a transformer layer.",
        "4 all-reduces of batch x sequence x hidden elements a layer",
        "GPUs",
        f"{MEGATRON}, section 3",
        ("tp",),
    ),
    Term(
        "pipeline parallel",
        "Consecutive blocks on consecutive GPUs; micro-batches pass through.",
        "pp stages",
        "stages",
        "Huang et al., GPipe, NeurIPS 2019",
        ("pp",),
    ),
    Term(
        "gpipe",
        "The schedule that runs every forward, then every backward; all micro-batches are alive at the turn.",
        "(m + p - 1)(F + B) in all",
        "s",
        "Huang et al., GPipe, NeurIPS 2019",
        is_strategy=True,
    ),
    Term(
        "1f1b",
        "The schedule that alternates one forward and one backward after a warm-up: GPipe's time with at most p "
        "micro-batches alive.",
        "(m + p - 1)(F + B) in all; min(p - i, m) alive on stage i",
        "s",
        f"{SC21}, section 2.2",
        ("one forward one backward",),
        is_strategy=True,
    ),
    Term(
        "interleaved",
        "1F1B with v chunks of the model on every stage: a smaller bubble for more messages.",
        "m (F + B) + (p-1)(F + B)/v in all",
        "s",
        f"{SC21}, section 2.2",
        ("interleaved_1f1b", "chunks"),
        is_strategy=True,
    ),
    Term("stage", "The blocks that one pipeline coordinate holds.", source="Huang et al., GPipe, NeurIPS 2019"),
    Term(
        "block",
        "The unit of placement and recomputation: a model may be cut between blocks, never inside one.",
        source="simdml, workload/model.py",
    ),
    Term(
        "layer placement",
        "One model spread over GPUs layer after layer without micro-batches: one GPU works at a time.",
        "p (F + B) and p - 1 transfers each way",
        "s",
        "Dean et al., DistBelief, NeurIPS 2012",
        ("naive model parallelism",),
        is_strategy=True,
    ),
    Term(
        "scatter-gather",
        "Tensor-parallel ranks send 1/tp of a stage's output each over their own NIC and gather it on the other side.",
        "output / tp over every NIC",
        "B",
        f"{SC21}, section 4.1",
    ),
    Term(
        "mesh",
        "Ranks on named axes; a group is the ranks that differ along some of them. tp is fastest, pp slowest.",
        "rank = sum of coordinate x stride",
        source="NVIDIA/Megatron-LM, megatron/training/arguments.py",
    ),
    Term(
        "recomputation",
        "Activations are not kept but computed again in backward: less memory for a third more FLOPs.",
        "4 instead of 3 forward passes",
        "FLOP",
        "Chen et al., arXiv 1604.06174",
        ("recompute", "activation checkpointing"),
    ),
    Term(
        "activations",
        "What forward keeps for backward.",
        "s b h (10 + 24/t + 5 a s / (h t)) a transformer layer",
        "B",
        "Korthikanti et al., arXiv 2205.05198, section 4",
    ),
    Term(
        "optimizer state",
        "What an optimizer keeps for every parameter between steps.",
        "Adam in mixed precision: 12 bytes a parameter (master weight and two moments)",
        "B",
        "Rajbhandari et al., ZeRO, arXiv 1910.02054, section 3.1",
    ),
    Term(
        "flash attention",
        "Attention as one kernel that never stores the scores; flash_1, flash (the second) and flash_3 in a scenario.",
        source="Dao et al., FlashAttention, arXiv 2205.14135; Dao, arXiv 2307.08691; Shah et al., arXiv 2407.08608",
        aliases=("flash",),
    ),
    Term(
        "parameter server",
        "Parameters live on servers; workers push gradients and pull parameters.",
        "balanced: max(M / B_worker, W x M / (S x B_server)) in each direction",
        "s",
        PARAMETER_SERVER,
        is_strategy=True,
    ),
    Term(
        "shard",
        "The part of the parameters one server holds.",
        "M / S if balanced",
        "B",
        PARAMETER_SERVER,
    ),
    Term(
        "BSP",
        "Bulk synchronous parallel: a step ends when every worker's gradients are in.",
        source="Valiant, CACM 33(8), 1990",
        aliases=("bulk synchronous parallel", "synchronous"),
    ),
    Term(
        "asynchronous",
        "A server applies every worker's gradient when it comes; workers never wait for each other.",
        source="Dean et al., DistBelief, NeurIPS 2012",
    ),
    Term(
        "staleness",
        "Updates applied between the moment a worker pulled parameters and the moment its gradient is applied.",
        "W - 1 for W equal asynchronous workers that fetch right after they push; less if they fetch later",
        "updates",
        "Ho et al., SSP, NeurIPS 2013",
    ),
    Term(
        "SSP",
        "Stale synchronous parallel: the fastest worker is at most s steps ahead of the slowest.",
        "s = 0 is BSP",
        "steps",
        "Ho et al., NeurIPS 2013",
        ("stale synchronous parallel",),
    ),
    Term(
        "local aggregation",
        "GPUs of a node sum their gradients first, so the node pushes and pulls once.",
        source="MXNet dist_device_sync, apache/mxnet src/kvstore",
    ),
)
