"""Terms of how a layer is spread over the ranks of a replica."""

from simdml.cli.glossary.term import Term

KORTHIKANTI = "Korthikanti et al., Reducing Activation Recomputation, arXiv 2205.05198"

TERMS = (
    Term(
        "sequence parallel",
        "Tensor parallelism whose norms, dropouts and residuals are divided over the sequence: an all-gather and a "
        "reduce-scatter take the place of each all-reduce, and activations lie in parts.",
        "per layer 4 all-gathers and 4 reduce-scatters of s b h, and 2 all-gathers beside input gradients; "
        "s b h / t (34 + 5 a s / h) kept",
        "B",
        f"{KORTHIKANTI}, section 4.2",
        ("sequence_parallel", "sp"),
        is_strategy=True,
    ),
    Term(
        "selective recomputation",
        "Attention scores, much memory for little work, are computed again in backward; everything else is kept.",
        "34 s b h / t a layer with sequence parallelism",
        "B",
        f"{KORTHIKANTI}, section 5",
        ("selective",),
    ),
    Term(
        "stage recomputation",
        "A stage keeps what enters it alone and runs forward again before backward; torchgpipe's default leaves out "
        "the last micro-batch.",
        source="Huang et al., GPipe, NeurIPS 2019, section 2.3; kakaobrain/torchgpipe, checkpoint=except_last",
        aliases=("stage_except_last", "rematerialisation"),
    ),
    Term(
        "asynchronous all-reduce",
        "The sum of an input gradient over tensor-parallel ranks runs beside the weight gradient of the same layer.",
        source="NVIDIA/Megatron-LM, megatron/core/tensor_parallel/layers.py",
        aliases=("async_all_reduce", "async_tensor_model_parallel_allreduce"),
    ),
    Term(
        "tp overlap",
        "A product is cut into as many parts as there are tensor-parallel ranks; each part moves on to the next rank "
        "while the product of the one before runs.",
        "tp - 1 messages of s b h / tp beside tp partial products",
        "B",
        "NVIDIA/Megatron-LM --tp-comm-overlap (userbuffers)",
        ("tp_comm_overlap", "userbuffers"),
    ),
    Term(
        "context parallel",
        "Ranks share every sequence: tokens in parts, keys and values exchanged for attention.",
        "ring: (c-1) messages of 2 (s/c) b h_kv forward and twice that backward; ulysses: 8 all-to-alls of s b h / c",
        "B",
        "Liu et al., arXiv 2310.01889; Jacobs et al., arXiv 2309.14509; Llama 3, arXiv 2407.21783",
        ("context_parallel", "cp", "ring attention", "ulysses"),
        is_strategy=True,
    ),
    Term(
        "expert parallel",
        "Ranks share the experts of a mixture of experts; tokens go to their experts and back by all-to-all.",
        "4 all-to-alls a layer of s b k h (e-1)/e from every rank",
        "B",
        "Lepikhin et al., GShard, arXiv 2006.16668",
        ("expert_parallel", "ep", "dispatch", "combine"),
        is_strategy=True,
    ),
    Term(
        "expert data parallel",
        "The ranks that hold the same experts: they sum the gradients of these, and share their state where it is "
        "sharded, while everything else is summed and shared by all data-parallel ranks.",
        "dp cp / ep ranks; of Psi bytes of an expert's parameters each moves (n-1)/n a gather or reduction",
        "B",
        "NVIDIA/Megatron-LM, megatron/core/parallel_state.py; pytorch/torchtitan, distributed/parallel_dims.py",
        ("expert dp", "expert dp_shard", "exposed expert dp", "exposed expert dp_shard"),
    ),
    Term(
        "latent attention",
        "Queries, and keys with values, come from short vectors of each token; in training all keys and values are "
        "computed from them.",
        "parameters: h q + q n (d + r) + h (k + r) + k n (d + v) + n v h, n heads of d plain, r rotated elements and "
        "v of values, vectors of q and k",
        "1",
        "DeepSeek-AI, DeepSeek-V2, arXiv 2405.04434, section 2.1",
        ("mla", "multi-head latent attention"),
    ),
    Term(
        "imbalance",
        "Tokens of the rank whose experts get most, over the mean: every all-to-all and every product waits for it.",
        "at most the capacity factor, where experts have one",
        "1",
        "NVIDIA/Megatron-LM, --moe-expert-capacity-factor",
        ("capacity factor", "expert load"),
    ),
)
