"""FP8 as TransformerEngine does it: which products, what is quantized, and H100's measured rates."""

from dataclasses import replace

import pytest

from simdml.calibration.profile import load_profile
from simdml.cluster.device import find_device
from simdml.costs.compute import RooflineCost
from simdml.errors import InfeasibleError
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario
from simdml.strategies import expert_parallel
from simdml.workload.catalog import find_model
from simdml.workload.fp8 import with_fp8
from simdml.workload.operators import Family, Phase, Split, divide, matmul

# Azure/AI-benchmarking-guide, Azure_Results, September 2024: (m, n, k) and TFLOP/s of FP8 products.
H100 = {
    (1024, 1024, 1024): 274,
    (2048, 2048, 2048): 1011,
    (4096, 4096, 4096): 1217,
    (8192, 8192, 8192): 1290,
    (16384, 16384, 16384): 1377,
    (1024, 2145, 1024): 411,
    (6144, 12288, 12288): 1351,
    (802816, 192, 768): 664,
}
H200 = dict(zip(H100, (291, 1013, 1249, 1301, 1366, 408, 1318, 718), strict=True))


@pytest.mark.parametrize(("profile", "measured"), [("h100_sxm", H100), ("h200_sxm_derived", H200)])
def test_products_take_what_was_measured(profile, measured):
    cost = RooflineCost(load_profile(profile), find_device(profile.removesuffix("_derived")))
    errors = []
    for (m, n, k), teraflops in measured.items():
        product = replace(matmul("x", m, n, k, element_bytes=1), written_bytes=2.0 * m * n)
        errors.append(product.flops / cost.seconds(product, "fp8") / (1e12 * teraflops) - 1)
    assert max(map(abs, errors)) < 0.2
    assert sorted(map(abs, errors))[len(errors) // 2] < 0.07


@pytest.fixture(scope="module")
def models():
    half = find_model("llama3_8b").build(samples=1, element_bytes=2, attention="flash")
    return half, with_fp8(half)


def operators(model, kept):
    return [
        op for block in model.blocks for layer in block.layers for op in (*layer.forward, *layer.backward) if kept(op)
    ]


def test_products_of_blocks_alone_are_8_bit(models):
    half, eight = models
    small = operators(eight, lambda op: op.element_bytes == 1)
    assert {op.family for op in small} == {Family.MATMUL}
    ends = {block.name for block in eight.blocks if not block.stacked}
    assert not [
        op
        for block in eight.blocks
        if block.name in ends
        for layer in block.layers
        for op in layer.forward
        if op.element_bytes == 1
    ]
    assert sum(op.flops for op in operators(half, lambda _: True)) == sum(
        op.flops for op in operators(eight, lambda _: True)
    )


def test_every_input_and_output_gradient_is_quantized_once(models):
    half, eight = models
    (block,) = {id(block): block for block in half.blocks if block.stacked}.values()
    products = [
        op
        for layer in block.layers
        for op in (*layer.forward, *layer.backward)
        if op.family is Family.MATMUL and op.phase is not Phase.WEIGHT_GRADIENT
    ]
    blocks = sum(block.stacked for block in half.blocks)
    quantized = operators(eight, lambda op: op.name.endswith("quantized"))
    assert len(quantized) == blocks * len(products)
    # Two bytes read and two 8-bit copies written, of the left operand.
    assert sum(op.bytes for op in quantized) == blocks * sum(4.0 * op.shape[0] * op.shape[2] for op in products)


@pytest.fixture(scope="module")
def experts():
    """A block of a mixture, whose gradients are kept in fp32, in 8 bits."""
    built = find_model("mixtral_8x7b").build(
        samples=1, sequence=256, element_bytes=2, attention="unfused", gradient_accumulation="fused_fp32"
    )
    return {layer.name: layer for layer in next(block for block in with_fp8(built).blocks if block.stacked).layers}


def test_products_of_experts_are_8_bit_and_those_of_router_and_attention_are_not(experts):
    def sizes(layer):
        products = (Family.MATMUL, Family.BATCHED_MATMUL)
        return {op.element_bytes for op in (*layer.forward, *layer.backward) if op.family in products}

    found = {name: sizes(layer) for name, layer in experts.items() if sizes(layer)}
    assert found["router"] == {2}
    assert found["experts_fc1"] == found["experts_fc2"] == found["qkv"] == {1}
    scores = [name for name, layer in experts.items() if layer.keeps_bulky]
    assert scores
    assert all(found[name] == {2} for name in scores)


def test_rows_of_experts_are_quantized_as_many_on_every_rank(experts):
    layer = experts["experts_fc1"]
    for ways in (1, 4):
        quantized, product = expert_parallel.on_rank(layer.forward, ways)
        assert quantized.name == "experts_fc1 quantized"
        count, rows, _, depth = product.shape
        assert quantized.bytes == 4.0 * count * rows * depth


@pytest.mark.parametrize("spread", [lambda op: divide(op, 2), lambda op: expert_parallel.on_rank((op,), 2)[0]])
def test_outputs_keep_their_bytes_on_a_rank(experts, spread):
    """8-bit operands, outputs of two bytes, weight gradients summed in four (Megatron-LM's fused accumulation)."""
    layer = experts["experts_fc1"]
    products = [op for op in (*layer.forward, *layer.backward) if op.family is Family.BATCHED_MATMUL]
    assert {op.phase for op in products} == {Phase.FORWARD, Phase.INPUT_GRADIENT, Phase.WEIGHT_GRADIENT}
    for op in map(spread, products):
        count, m, n, k = op.shape
        summed = 4 if op.phase is Phase.WEIGHT_GRADIENT else 0
        assert op.read_bytes == count * ((m + n) * k + summed * m * n)
        assert op.written_bytes == (summed or 2) * count * m * n


def test_dense_products_cut_by_tensor_parallelism_are_no_sums():
    product = replace(matmul("x", 64, 32, 16, element_bytes=1, split=Split.N), written_bytes=2.0 * 64 * 32)
    part = divide(product, 4)
    assert (part.read_bytes, part.written_bytes) == (64 * 16 + 16 * 8, 2.0 * 64 * 8)


def kept_inputs(model, attention):
    (block,) = {id(block): block for block in model.blocks if block.stacked}.values()
    inputs = {layer.name: [a.bytes for a in layer.activations if a.name == "input"] for layer in block.layers}
    assert attention in inputs
    return {name: sum(nbytes) for name, nbytes in inputs.items() if nbytes}


@pytest.mark.parametrize(("attention", "output"), [("flash", 1.5), ("unfused", 0.5)])
def test_linear_layers_keep_their_inputs_in_8_bits_and_flash_attention_its_output_beside(attention, output):
    half = find_model("llama3_8b").build(samples=1, sequence=1024, element_bytes=2, attention=attention)
    before, after = kept_inputs(half, "attention_output"), kept_inputs(with_fp8(half), "attention_output")
    expected = dict.fromkeys(before, 1.0) | {"qkv": 0.5, "fc1": 0.5, "fc2": 0.5, "attention_output": output}
    assert {name: after[name] / before[name] for name in before} == expected


def memory_of(**training):
    scenario = {
        "cluster": {"name": "dgx_h100", "nodes": 1},
        "model": "llama3_8b",
        "training": {"global_batch": 8, "optimizer": "adam", **training},
        "strategy": {"mesh": {"tp": 2}, "data_parallel": {"kind": "distributed_optimizer"}},
    }
    return build(load_scenario(scenario)).memory()[0]


def test_8_bit_copies_of_weights_take_2_bytes_a_parameter_beside_weights_in_bf16():
    """Llama 3 8B: 32 blocks of 218,103,808 weights in matrices, half of them on a rank."""
    bf16, fp8 = memory_of(precision="bf16"), memory_of(precision="fp8")
    alone = memory_of(precision="fp8", primary_weights="fp8")
    assert fp8.parameters - bf16.parameters == 2 * 32 * 218_103_808 / 2
    assert alone.parameters == bf16.parameters
    assert fp8.activations < bf16.activations
    assert (fp8.gradients, fp8.optimizer) == (bf16.gradients, bf16.optimizer)


def test_8_bit_weights_of_another_precision_are_refused():
    with pytest.raises(InfeasibleError, match="primary_weights"):
        memory_of(precision="bf16", primary_weights="fp8")
