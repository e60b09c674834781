"""DeepSeek's models: parameters as published, FLOPs equal torch's, work and bytes in closed form, parallel layers."""

import pytest
from layers import collectives, flops, program_of, transformer_job

from simdml.errors import DocumentError, InfeasibleError
from simdml.program.instructions import CollectiveKind
from simdml.strategies.job import PipelinePlan, Spread
from simdml.strategies.stages import cut
from simdml.workload.architecture import Latent, Norm, TransformerConfig
from simdml.workload.catalog import find_model
from simdml.workload.huggingface import read_huggingface
from simdml.workload.model import model_flops
from simdml.workload.operators import Phase, attention
from simdml.workload.transformer import build_transformer

HEADS, RANKS, SIZES = 4, (48, 32), (16, 8, 12)


def deepseek(query_rank=RANKS[0], **changes):
    options = {
        "name": "small",
        "family": "deepseek_v3",
        "layers": 3,
        "hidden": 64,
        "heads": HEADS,
        "kv_heads": HEADS,
        "head_size": SIZES[0] + SIZES[1],
        "ffn": 24,
        "vocab": 128,
        "rotary": True,
        "gated": True,
        "qkv_bias": False,
        "output_bias": False,
        "mlp_bias": False,
        "norm": Norm.RMS,
        "norm_bias": False,
        "tied_head": False,
        "merged_projections": False,
        "num_experts": 8,
        "experts_per_token": 2,
        "shared_ffn": 24,
        "dropout": False,
        "latent": Latent(query_rank, RANKS[1], *SIZES),
        "dense_layers": 1,
        "dense_ffn": 96,
    }
    return TransformerConfig(**options | changes)


V3 = {
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "vocab_size": 129280,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "moe_layer_freq": 1,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "num_nextn_predict_layers": 1,
    "max_position_embeddings": 163840,
    "tie_word_embeddings": False,
}
V2 = V3 | {
    "model_type": "deepseek_v2",
    "hidden_size": 5120,
    "num_hidden_layers": 60,
    "vocab_size": 102400,
    "intermediate_size": 12288,
    "moe_intermediate_size": 1536,
    "n_routed_experts": 160,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "first_k_dense_replace": 1,
}
V2_LITE = V2 | {
    "hidden_size": 2048,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "intermediate_size": 10944,
    "moe_intermediate_size": 1408,
    "n_routed_experts": 64,
    "q_lora_rank": None,
}


def active(model, config):
    """The parameters that a token passes: of routed experts as many as it has."""
    share = config.experts_per_token / config.num_experts
    layers = [layer for block in model.blocks for layer in block.layers]
    return sum(layer.parameter_count * (share if layer.experts else 1) for layer in layers)


@pytest.mark.parametrize(
    ("keys", "total", "of_a_token"),
    [(V3, "671", "38"), (V2, "236", "21"), (V2_LITE, "16", "3")],
    ids=["v3", "v2", "v2_lite"],
)
def test_parameters_are_the_published_ones(keys, total, of_a_token):
    """671 B and 37 B (arXiv 2412.19437; 37.55 with embeddings), 236 B and 21 B (2405.04434), 15.7 B and 2.4 B."""
    config = read_huggingface(keys)
    model = build_transformer(config, samples=1, sequence=64)
    assert f"{model.parameter_count / 1e9:.0f}" == total
    assert f"{active(model, config) / 1e9:.0f}" == of_a_token


def test_deepseek_v3_to_the_last_parameter():
    """The closed form of its paper's sizes: latent attention, 3 dense MLPs, 58 of 257 experts and a biased router."""
    h, n, layers = 7168, 128, 61
    of_attention = h * 1536 + 1536 * n * 192 + h * (512 + 64) + 512 * n * 256 + n * 128 * h + 1536 + 512
    mlps = 3 * 3 * h * 18432 + 58 * (257 * 3 * h * 2048 + 256 * h + 256)
    total = layers * (of_attention + 2 * h) + mlps + 2 * 129280 * h + h
    assert total == 671_026_419_200
    spec = find_model("deepseek_v3")
    assert spec.build(samples=1).parameter_count == total
    assert build_transformer(read_huggingface(V3), samples=1, sequence=64).parameter_count == total
    embeddings = 129280 * h
    assert 36.5e9 < active(spec.build(samples=1), spec.config) - embeddings < 37.5e9


def test_keys_that_cannot_be_are_refused():
    with pytest.raises(DocumentError, match="moe_layer_freq other than 1"):
        read_huggingface(V2 | {"moe_layer_freq": 2})
    with pytest.raises(DocumentError, match="first_k_dense_replace must be a number from 0 up"):
        read_huggingface(V2 | {"first_k_dense_replace": -1})
    with pytest.raises(InfeasibleError, match="70 of 61 layers are dense"):
        read_huggingface(V3 | {"first_k_dense_replace": 70})


@pytest.mark.parametrize("query_rank", [RANKS[0], 0])
def test_flops_and_parameters_equal_torch(query_rank):
    torch = pytest.importorskip("torch")
    reference = pytest.importorskip("reference_transformers")
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        module = reference.DeepSeek(
            64, HEADS, (query_rank, RANKS[1]), SIZES, dense=(1, 96), experts=(2, 24, 8, 2), shared=24, vocab=128
        ).to(torch.bfloat16)
        ids = torch.empty(2, 64, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        loss = module(ids)
        forward = counter.get_total_flops()
        loss.backward()
    model = build_transformer(deepseek(query_rank), samples=2, sequence=64)
    assert model.parameter_count == sum(p.numel() for p in module.parameters())
    layers = [layer for block in model.blocks for layer in block.layers]
    assert sum(layer.forward_flops for layer in layers) == forward
    assert sum(layer.backward_flops for layer in layers) == counter.get_total_flops() - forward
    assert model.model_flops_per_sample * 2 == counter.get_total_flops()


def test_flash_attention_with_smaller_values_equals_torchs_formula():
    pytest.importorskip("torch")
    from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count

    q, k, v = (2, 4, 64, 24), (2, 4, 64, 24), (2, 4, 64, 12)
    kernel = {
        phase: attention(
            "a",
            batch=2,
            heads=4,
            kv_heads=4,
            sequence=64,
            head_size=24,
            value_size=12,
            element_bytes=2,
            causal=True,
            phase=phase,
        )
        for phase in (Phase.FORWARD, Phase.INPUT_GRADIENT)
    }
    assert kernel[Phase.FORWARD].flops == sdpa_flop_count(q, k, v)
    assert kernel[Phase.INPUT_GRADIENT].flops == sdpa_backward_flop_count((2, 4, 64, 12), q, k, v)
    rows = 2 * 4 * 64
    assert kernel[Phase.FORWARD].bytes == 2 * rows * (24 + 24 + 12 + 12) + 4 * rows
    assert kernel[Phase.INPUT_GRADIENT].bytes == 2 * rows * (2 * (24 + 24 + 12) + 2 * 12) + 4 * rows


def test_model_flops_do_not_depend_on_the_kernel():
    flash, plain = (
        build_transformer(deepseek(), samples=2, sequence=64, attention=kernel) for kernel in ("flash", "unfused")
    )
    assert flash.model_flops_per_sample == plain.model_flops_per_sample == model_flops(plain.blocks) / 2


def test_what_is_kept_for_backward_with_flash_attention():
    """Fused kernels: bytes a token of a dense block, every tensor named in the paper's figure 2 once."""
    block = build_transformer(deepseek(), samples=1, sequence=1, attention="flash").blocks[1]
    norms = 64 + 48 + 32 + 64
    inputs = 64 + 48 + 32 + HEADS * 12 + 64 + 96
    heads = HEADS * (24 + 24 + 12)
    gate_and_up = 2 * 96
    assert sum(a.bytes for layer in block.layers for a in layer.activations) == 2 * (
        norms + inputs + heads + gate_and_up
    )


def test_stages_get_equally_many_layers_whatever_is_in_them():
    model = build_transformer(deepseek(layers=4), samples=1, sequence=64)
    assert [len(stage) for stage in cut(model, 2)] == [3, 3]
    assert model.blocks[1] is not model.blocks[2] is model.blocks[3]


def small_program(mesh, **plans):
    return program_of(mesh, deepseek(), **plans)


def test_tensor_parallel_ranks_share_heads_and_sum_what_the_projections_down_need():
    """An all-reduce of the gradient of each normalised vector takes the place of one of the hidden state."""
    program = small_program((("tp", 2),))
    tokens = 4 * 128
    moved = collectives(program, "tp")
    assert moved[CollectiveKind.ALL_REDUCE, 2.0 * tokens * RANKS[0]] == 3
    assert moved[CollectiveKind.ALL_REDUCE, 2.0 * tokens * RANKS[1]] == 3
    whole = transformer_job((("tp", 1),), deepseek()).build(4)
    cut_products = sum(
        operator.flops
        for block in whole.blocks
        for layer in block.layers
        for operator in (*layer.forward, *layer.backward)
        if operator.split is not None
    )
    total = sum(layer.forward_flops + layer.backward_flops for block in whole.blocks for layer in block.layers)
    assert flops(program) == total - cut_products / 2


@pytest.mark.parametrize("method", ["ring", "all_gather", "ulysses"])
def test_ranks_that_share_sequences_move_keys_of_their_size_and_values_of_theirs(method):
    cp, tokens = 2, 4 * 128 // 2
    options = {"attention": "flash", "context_ways": cp}
    program = small_program((("cp", cp),), spread=Spread(cp=cp, context=method), options=options)
    moved = collectives(program, "cp")
    queries, keys, values = (2.0 * tokens * HEADS * size for size in (24, 24, 12))
    layers = 3
    if method == "ring":
        beside = [pair for pair in moved.items() if pair[0][0] is CollectiveKind.SHIFT]
        assert sum(payload * n for (_, payload), n in beside) == layers * (1 + 2) * (keys + values)
    elif method == "all_gather":
        assert moved[CollectiveKind.ALL_GATHER, cp * (keys + values)] == 2 * layers
    else:
        total = sum(payload * n for (_, payload), n in moved.items())
        assert total == 2 * layers * (queries + keys + values + values)


def test_a_pipeline_with_experts_runs():
    mesh = (("tp", 1), ("ep", 2), ("pp", 3))
    program = small_program(mesh, pipeline=PipelinePlan("1f1b"), spread=Spread(ep=2), microbatches=4)
    assert sum(collectives(program, "ep", 0).values()) == 0
    assert sum(collectives(program, "ep", 1).values()) == 4 * 4
