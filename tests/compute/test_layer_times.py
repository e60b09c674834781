"""Whole layers and single-GPU steps against published measurements, through the workload that builds them."""

import pytest

from simdml.calibration.profile import load_profile
from simdml.cluster.device import find_device
from simdml.costs.compute import RooflineCost
from simdml.workload.catalog import find_model
from simdml.workload.operators import Phase, divide
from simdml.workload.optimizer import optimizer_operators
from simdml.workload.transformer import TransformerConfig, build_transformer


def gpt(layers, hidden, heads, positions):
    return TransformerConfig(
        "gpt", "gpt2", layers, hidden, heads, heads, hidden // heads, 4 * hidden, 51200, position_rows=positions
    )


def seconds(cost, operators, precision, ways=1):
    return sum(cost.seconds(divide(operator, ways), precision) for operator in operators)


def ring_all_reduce_s(payload_bytes, ranks, bus_bytes_per_s):
    return 2 * (ranks - 1) / ranks * payload_bytes / bus_bytes_per_s


def layer_22b():
    model = build_transformer(gpt(1, 6144, 64, 2048), samples=4, sequence=2048, gradient_accumulation="fused_fp32")
    return model.blocks[1]


def test_22b_layer_on_8_a100():
    """Korthikanti et al., arXiv 2205.05198, Table 4: 7.7 ms and 11.9 ms with tensor-parallel all-reduces.

    235 GB/s is the bus bandwidth nccl-tests reach on a DGX A100. The all-reduces of backward run beside the
    weight-gradient matmuls, so backward lies between overlapped and exposed.
    """
    cost = RooflineCost(load_profile("a100_sxm_80gb"), find_device("a100_sxm_80gb"))
    block = layer_22b()
    reduces_s = 2 * ring_all_reduce_s(2 * 4 * 2048 * 6144, 8, 235e9)
    forward_s = seconds(cost, block.operators(Phase.FORWARD), "fp16", 8)
    backward_s = seconds(cost, block.operators(Phase.INPUT_GRADIENT), "fp16", 8)
    assert forward_s + reduces_s == pytest.approx(7.7e-3, rel=0.08)
    assert backward_s == pytest.approx(11.9e-3, rel=0.08)
    assert backward_s < 11.9e-3 < backward_s + reduces_s


def full_recompute_step_s(cost, layers, hidden, heads, samples):
    """One step on one GPU: forward, forward again of every block, backward, fused Adam with an fp32 master."""
    model = build_transformer(gpt(layers, hidden, heads, 1024), samples=samples, sequence=1024)
    total = 0.0
    for index, block in enumerate(model.blocks):
        forwards = 2 if 0 < index <= layers else 1
        total += forwards * seconds(cost, block.operators(Phase.FORWARD), "fp16")
        total += seconds(cost, block.operators(Phase.INPUT_GRADIENT), "fp16")
    return total + seconds(cost, optimizer_operators("adam", model.parameter_count, "fp16", fused=True), "fp16")


# Megatron-LM README of September 2020: GPT2-1B on one A100-40GB and one V100-32GB SXM3, seconds an iteration.
@pytest.mark.parametrize(
    ("profile", "device", "samples", "measured_s", "tolerance"),
    [("a100_sxm_80gb", "a100_sxm_40gb", 16, 1.076, 0.06), ("v100_sxm2", "v100_sxm3_32gb", 8, 1.121, 0.12)],
)
def test_gpt_1b_on_one_gpu(profile, device, samples, measured_s, tolerance):
    cost = RooflineCost(load_profile(profile), find_device(device))
    assert full_recompute_step_s(cost, 24, 1920, 15, samples) == pytest.approx(measured_s, rel=tolerance)


# TensorFlow benchmarks page of May 2017, one GPU, synthetic data: seconds a step (K80: EC2, mean of both tables).
# The K80's and P100's two coefficients were calibrated on all but the AlexNet and VGG rows of K80 (held out).
@pytest.mark.parametrize(
    ("profile", "device", "model", "images", "measured_s", "tolerance"),
    [
        ("k80_tf1", "k80", "inception_v3", 64, 2.116, 0.05),
        ("k80_tf1", "k80", "resnet50", 64, 1.232, 0.05),
        ("k80_tf1", "k80", "resnet152", 32, 1.637, 0.08),
        ("k80_tf1", "k80", "inception_v3", 32, 1.083, 0.05),
        ("k80_tf1", "k80", "resnet50", 32, 0.657, 0.05),
        ("k80_tf1", "k80", "vgg16", 32, 0.8815, 0.15),
        ("p100_sxm2", "p100_sxm2", "inception_v3", 64, 0.4507, 0.08),
        ("p100_sxm2", "p100_sxm2", "resnet50", 64, 0.2922, 0.08),
        ("p100_sxm2", "p100_sxm2", "resnet152", 32, 0.3869, 0.08),
        ("p100_sxm2", "p100_sxm2", "vgg16", 32, 0.2222, 0.08),
    ],
)
def test_convnets_on_one_gpu(profile, device, model, images, measured_s, tolerance):
    cost = RooflineCost(load_profile(profile), find_device(device))
    network = find_model(model).build(samples=images, element_bytes=4, fused_elementwise=False)
    total = seconds(cost, optimizer_operators("sgd", network.parameter_count), "fp32")
    for block in network.blocks:
        total += seconds(cost, block.operators(Phase.FORWARD), "fp32")
        total += seconds(cost, block.operators(Phase.INPUT_GRADIENT), "fp32")
    assert total == pytest.approx(measured_s, rel=tolerance)
