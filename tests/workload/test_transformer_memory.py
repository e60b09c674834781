"""Activations, tensor-parallel splits and memory traffic of transformer blocks."""

from dataclasses import replace

import pytest

from simdml.errors import DocumentError, InfeasibleError
from simdml.workload.catalog import find_model
from simdml.workload.operators import Family, Phase, Split, divide
from simdml.workload.transformer import Norm, TransformerConfig, build_transformer

GPT = TransformerConfig("gpt", "gpt2", 3, 512, 8, 8, 64, 2048, 1024, position_rows=256)
SAMPLES, SEQUENCE, HIDDEN, HEADS = 4, 128, 512, 8
SBH = SAMPLES * SEQUENCE * HIDDEN
SCORES = SAMPLES * HEADS * SEQUENCE**2


def build(config=GPT, **options):
    return build_transformer(config, samples=SAMPLES, sequence=SEQUENCE, **options)


def kept_bytes(block, ways=1):
    kept = [a for layer in block.layers for a in layer.activations]
    return sum(a.bytes / (ways if a.split else 1) for a in kept)


def traffic(operators, families=None):
    return sum(op.bytes for op in operators if families is None or op.family in families)


@pytest.mark.parametrize("fused", [True, False])
def test_activations_of_a_block_are_korthikanti_s(fused):
    block = build(fused_elementwise=fused).blocks[1]
    assert kept_bytes(block) == 34 * SBH + 5 * SCORES


def test_an_eager_softmax_in_fp32_keeps_its_own_output_too():
    in_fp32 = build(fused_elementwise=False, attention="fp32_softmax")
    assert kept_bytes(in_fp32.blocks[1]) == 34 * SBH + (5 + 4) * SCORES
    in_one_kernel = build(fused_elementwise=False, attention="fused_softmax")
    assert kept_bytes(in_one_kernel.blocks[1]) == 34 * SBH + 5 * SCORES


def test_an_eager_softmax_reads_and_writes_fp32_scores_between_casts():
    """At 2 bytes: scale 4, mask 4, to fp32 6, softmax 8, back 6 and dropout 5; fused: 3 and dropout 5."""

    def of_scores(**options):
        (layer,) = [layer for layer in build(**options).blocks[1].layers if layer.name == "attention"]
        names = ("scale", "mask", "scores_to_fp32", "softmax", "scores_from_fp32", "scale_mask_softmax")
        return traffic([op for op in layer.forward if op.name in (*names, "attention_dropout")])

    assert of_scores(fused_elementwise=False, attention="fp32_softmax") == (4 + 4 + 6 + 8 + 6 + 5) * SCORES
    assert of_scores(fused_elementwise=False) == (4 + 4 + 4 + 5) * SCORES
    assert of_scores(fused_elementwise=False, attention="fused_softmax") == (3 + 5) * SCORES


@pytest.mark.parametrize("ways", [2, 4, 8])
def test_activations_under_tensor_parallelism_are_korthikanti_s(ways):
    block = build().blocks[1]
    assert kept_bytes(block, ways) == 10 * SBH + 24 * SBH / ways + 5 * SCORES / ways


def test_flash_attention_keeps_no_scores():
    assert kept_bytes(build(attention="flash").blocks[1]) == 34 * SBH


def test_post_norm_keeps_as_much_as_pre_norm():
    assert kept_bytes(build(replace(GPT, post_norm=True)).blocks[1]) == 34 * SBH + 5 * SCORES


def test_embedding_and_head_keep_megatron_s_terms():
    model = build()
    assert kept_bytes(model.blocks[0]) == 8 * SAMPLES * SEQUENCE + SBH
    assert kept_bytes(model.blocks[-1]) == 4 * SBH + 4 * SAMPLES * SEQUENCE * GPT.vocab


def test_without_dropout_masks_and_dropped_scores_go():
    assert kept_bytes(build(dropout=False).blocks[1]) == 32 * SBH + 2 * SCORES


def test_swiglu_block_keeps_inputs_of_every_product():
    config = replace(find_model("llama2_7b").config, layers=1, hidden=512, heads=8, kv_heads=2, head_size=64, ffn=1024)
    block = build(config, attention="flash").blocks[1]
    tokens = SAMPLES * SEQUENCE
    qkv, mlp = 512 + 128 + 128, 3 * 1024
    assert kept_bytes(block) == 2 * tokens * (512 + 512 + qkv + 512 + 512 + 512 + mlp)


def test_repeated_blocks_are_the_same_object():
    model = build()
    assert len(model.blocks) == 5
    assert len({id(block) for block in model.blocks}) == 3
    assert model.blocks[1].output_bytes == 2 * SBH


@pytest.mark.parametrize("bias", [True, False])
def test_partial_sums_are_two_a_direction_of_sbh(bias):
    """Shoeybi et al., arXiv 1909.08053, figure 4: f and g, twice a block."""
    block = build(replace(GPT, qkv_bias=bias)).blocks[1]
    for phase, name in ((Phase.FORWARD, "attention_output fc2"), (Phase.INPUT_GRADIENT, "fc1 qkv")):
        partial = [op for op in block.operators(phase) if op.leaves_partial_sum]
        assert [op.name.removesuffix("_input_gradient") for op in partial] == name.split()
        assert all(divide(op, 4).written_bytes == 2 * SBH for op in partial)


def test_vocabulary_parallel_ends():
    model = build()
    (lookup,) = [op for op in model.blocks[0].operators(Phase.FORWARD) if op.leaves_partial_sum]
    assert divide(lookup, 4).written_bytes == 2 * SBH
    (gradient,) = [op for op in model.blocks[-1].operators(Phase.INPUT_GRADIENT) if op.leaves_partial_sum]
    assert divide(gradient, 4).shape == (SAMPLES * SEQUENCE, HIDDEN, GPT.vocab // 4)


@pytest.mark.parametrize("name", ["gpt2", "llama3_8b", "mixtral_8x7b", "bert_large"])
@pytest.mark.parametrize("attention", ["unfused", "flash"])
def test_ranks_share_all_split_flops(name, attention):
    model = find_model(name).build(samples=2, sequence=64, attention=attention, vocab_multiple=512)
    for block in dict.fromkeys(map(id, model.blocks)):
        operators = next(b for b in model.blocks if id(b) == block)
        for op in operators.operators(Phase.FORWARD) + operators.operators(Phase.INPUT_GRADIENT):
            assert divide(op, 4).flops * 4 == (op.flops if op.split else 4 * op.flops)
            assert divide(op, 4).family is op.family


def test_split_parameters_are_the_matrices_and_column_biases():
    split = {f"{layer.name}.{p.name}" for layer in build().blocks[1].layers for p in layer.parameters if p.split}
    matrices = {f"{name}.weight" for name in ("qkv", "attention_output", "fc1", "fc2")}
    assert split == matrices | {"qkv.bias", "fc1.bias"}


@pytest.mark.parametrize("split", [Split.M, Split.N, Split.K])
def test_weight_gradient_split_matches_the_shard_of_the_weight(split):
    """The gradient that a rank computes has as many elements as the weight shard that it holds."""
    block = build().blocks[1]
    for layer in block.layers:
        for op in layer.backward:
            if op.phase is Phase.WEIGHT_GRADIENT and op.family is Family.MATMUL and op.split is split:
                m, n, _ = divide(op, 4).shape
                assert m * n * 4 == layer.parameters[0].elements
                assert split is not Split.K


def test_megatron_kernels_of_a_forward_block():
    """At 2 bytes: norms 4+4, QKV bias 12, merge heads 4, bias-dropout-add 7+7, bias-GeLU 16, scores 3+5."""
    block = build().blocks[1]
    memory_bound = [op for op in block.operators(Phase.FORWARD) if not op.flops]
    assert traffic(memory_bound) == (4 + 4 + 12 + 4 + 7 + 7 + 16) * SBH + (3 + 5) * SCORES
    assert len(memory_bound) == 9


def test_fused_kernels_move_less():
    fused, eager = (traffic(build(fused_elementwise=f).blocks[1].operators(Phase.FORWARD)) for f in (True, False))
    assert fused < eager


@pytest.mark.parametrize("kind", ["add", "add_fp32", "cast_add_fp32", "fused_fp32"])
def test_gradient_accumulation_moves_every_gradient_once(kind):
    plain, accumulating = build().blocks[1], build(gradient_accumulation=kind).blocks[1]
    extra = traffic(accumulating.operators(Phase.WEIGHT_GRADIENT)) - traffic(plain.operators(Phase.WEIGHT_GRADIENT))
    total = plain.parameter_count
    weights = 12 * HIDDEN**2
    expected = {
        "add": (2 + 2 + 2) * total,
        "add_fp32": (2 + 4 + 4) * total,
        "cast_add_fp32": (2 + 4 + 4 + 4 + 4) * total,
        "fused_fp32": (4 + 4 - 2) * weights + (2 + 4 + 4) * (total - weights),
    }
    assert extra == expected[kind]


def dispatched_bytes(module, inputs, gradient):
    """Bytes in and out of every aten kernel that forward and backward of ``module`` dispatch."""
    torch = pytest.importorskip("torch")
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Traffic(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if not func.is_view and "_unsafe_view" not in str(func):
                tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, torch.Tensor)]
                self.total += sum(t.numel() * t.element_size() for t in tensors)
            return out

    with torch.device("meta"), Traffic() as traffic:
        module(inputs).backward(gradient)
    return traffic.total


LLAMA = replace(
    GPT,
    gated=True,
    norm=Norm.RMS,
    norm_bias=False,
    qkv_bias=False,
    output_bias=False,
    mlp_bias=False,
    merged_projections=False,
    kv_heads=2,
    position_rows=0,
    dropout=False,
)


@pytest.mark.parametrize(
    ("config", "reference", "tolerance"),
    [
        (GPT, lambda r: r.GPT2Block(512, 8, r.plain_attention), 0.01),
        (LLAMA, lambda r: r.LlamaBlock(512, 8, 2, 2048, (), r.undropped_attention), 0.04),
    ],
    ids=["gpt2", "llama"],
)
def test_eager_traffic_is_what_pytorch_dispatches(config, reference, tolerance):
    """A layer norm's gradient is one aten operator but two kernels: the second's reading is left out here.

    Llama's separate matmuls read their input more often than our merged ones.
    """
    torch = pytest.importorskip("torch")
    references = pytest.importorskip("reference_transformers")
    samples, sequence = 2, 256
    with torch.device("meta"):
        block = reference(references).half()
        x = torch.empty(samples, sequence, HIDDEN, dtype=torch.half, requires_grad=True)
        gradient = torch.empty(samples, sequence, HIDDEN, dtype=torch.half)
    model = build_transformer(config, samples=samples, sequence=sequence, fused_elementwise=False)
    built = model.blocks[1]
    operators = built.operators(Phase.FORWARD) + built.operators(Phase.WEIGHT_GRADIENT)
    ours = traffic([op for op in operators if op.name != "norm_weight_gradient"])
    assert ours == pytest.approx(dispatched_bytes(block, x, gradient), rel=tolerance)


def test_bad_sizes_are_refused():
    with pytest.raises(InfeasibleError, match="positions"):
        build_transformer(GPT, samples=1, sequence=257)
    with pytest.raises(DocumentError, match="samples"):
        build_transformer(GPT, samples=0, sequence=8)
    with pytest.raises(InfeasibleError, match="KV heads"):
        replace(GPT, kv_heads=3)
    with pytest.raises(InfeasibleError, match="experts_per_token"):
        replace(GPT, num_experts=4)
    with pytest.raises(DocumentError, match="layers"):
        replace(GPT, layers=0)
