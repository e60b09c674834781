"""FP8 as TransformerEngine does it: which products, what is quantized, and H100's measured rates."""

from dataclasses import replace

import pytest

from simdml.calibration.profile import load_profile
from simdml.cluster.device import find_device
from simdml.costs.compute import RooflineCost
from simdml.workload.catalog import find_model
from simdml.workload.fp8 import with_fp8
from simdml.workload.operators import Family, Phase, matmul

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
