"""What spreads a layer over the ranks of a replica, as its users see it."""

from __future__ import annotations

from simdml.strategies.strategy import Strategy

TENSOR = Strategy(
    "tensor_parallel",
    "Megatron-LM",
    "matrices of a layer are cut over GPUs, which sum partial results",
    models=(
        "Every operator's part on one rank; an all-reduce of the whole output after each product cut by rows.",
        "Sums of input gradients beside the weight gradients (async_all_reduce).",
        "sequence_parallel and overlap, which explain sequence_parallel and explain tp_overlap tell of.",
    ),
    leaves_out=("The three small all-reduces of a vocabulary-parallel cross entropy.",),
    sources=("Shoeybi et al., arXiv 1909.08053; NVIDIA/Megatron-LM, megatron/core/tensor_parallel/layers.py",),
    defaults={"sequence_parallel": False, "async_all_reduce": True, "overlap": False},
    written="strategy: {mesh: {tp: 8}, tensor_parallel: {...}}",
)

SEQUENCE = Strategy(
    "sequence_parallel",
    "Megatron-LM --sequence-parallel",
    "what tensor parallelism leaves whole is divided over the sequence",
    models=(
        "An all-gather before products cut by columns and a reduce-scatter after those cut by rows, both directions.",
        "The input gathered again for a weight gradient beside the input gradient, whose sum is scattered beside it.",
        "Activations and messages between stages in parts of 1/tp; gradients of what is whole summed at the end.",
        "overlap: products in tp parts, each moved on beside the next (userbuffers).",
    ),
    sources=("Korthikanti et al., arXiv 2205.05198, section 4",),
    written="strategy: {mesh: {tp: 8}, tensor_parallel: {sequence_parallel: true}}",
)

CONTEXT = Strategy(
    "context_parallel",
    "Megatron-LM and TransformerEngine; Llama 3; DeepSpeed-Ulysses",
    "ranks share every sequence, and attention reaches the others' tokens",
    models=(
        "ring: keys and values passed round beside attention on those that are there, backward with their gradients.",
        "all_gather: keys and values gathered before attention, their gradients scattered after it.",
        "ulysses: queries, keys, values and output traded between sequence and heads by all-to-alls.",
        "Gradients summed over the ranks that share sequences too, and state sharded over them (FSDP2, ZeRO, "
        "Megatron-LM's distributed optimizer).",
    ),
    leaves_out=(
        "Hierarchical all-to-all with ring (a2a+p2p); documents in a sequence, which unbalance causal attention.",
    ),
    sources=(
        "NVIDIA/TransformerEngine, attention/dot_product_attention/context_parallel.py",
        "arXiv 2310.01889 (ring), 2407.21783 section 3.3.2 (all-gather), 2309.14509 (Ulysses)",
    ),
    defaults={"method": "ring"},
    written="strategy: {mesh: {cp: 4}, context_parallel: {method: ring}}",
)

EXPERT = Strategy(
    "expert_parallel",
    "Megatron-LM's mixture of experts; DeepSeek",
    "data-parallel ranks share the experts, and tokens go to them and back by all-to-all",
    models=(
        "Dispatch and combine in both directions; experts' products over the tokens of all ranks.",
        "The load of the fullest rank (imbalance), a capacity, and padding to it; an expert that all tokens share.",
        "Gradients of experts summed over the ranks that hold the same ones, and their state sharded over these by "
        "distributed_optimizer, zero1, zero2, fsdp2 and hsdp.",
        "Where cp is used, an ep that is a multiple of it covers the ranks that share a sequence first.",
        "All-to-alls of a forward beside a backward, and the other way round, in DualPipe and DualPipeV.",
    ),
    leaves_out=(
        "Dispatchers that send a token once to a node (DeepEP), in fp8, or to all by all-gather.",
        "Experts cut over tp otherwise than the rest (expert-tensor-parallel-size).",
    ),
    sources=(
        "Lepikhin et al., GShard, arXiv 2006.16668; NVIDIA/Megatron-LM, megatron/core/transformer/moe",
        "DeepSeek-AI, arXiv 2412.19437",
        "Megatron-LM, megatron/core/parallel_state.py; torchtitan, torchtitan/distributed/parallel_dims.py",
    ),
    defaults={"imbalance": 1.0, "capacity_factor": "no limit", "pad_to_capacity": False},
    written="strategy: {mesh: {ep: 8}, expert_parallel: {...}}",
)

LAYER_STRATEGIES = (TENSOR, SEQUENCE, CONTEXT, EXPERT)
