"""What is remembered between jobs: equal to what is worked out afresh, and missed by anything that is different."""

from __future__ import annotations

import gc
from dataclasses import fields, replace

import pytest

from simdml.calibration.profile import load_profile
from simdml.cluster.device import find_device
from simdml.costs import compute
from simdml.costs.compute import ConstantCost, RooflineCost, roofline
from simdml.costs.dispatch import Dispatch
from simdml.engine.kernels import Kernels, kernels
from simdml.program.instructions import Activity, Compute
from simdml.scenario.simulate import run
from simdml.strategies import compiler
from simdml.workload.operators import Operator, Phase, attention, convolution, matmul

PROFILE, DEVICE = load_profile("a100_sxm_80gb"), find_device("a100_sxm_80gb")
PRODUCT = matmul("linear", 4096, 1024, 1024, element_bytes=2)
IMAGE = convolution(
    "conv", batch=8, channels=(64, 64), kernel=(3, 3), image=(28, 28), output=(28, 28), stride=1, element_bytes=2
)
SCORES = attention("scores", batch=2, heads=16, kv_heads=16, sequence=2048, head_size=64, element_bytes=2, causal=False)


def kernel(operator=PRODUCT):
    return Compute("kernel", Activity.FORWARD, (operator,))


DIFFERENT = {
    "shape": (PRODUCT, replace(PRODUCT, shape=(4096, 2048, 1024))),
    "flops": (replace(PRODUCT, shape=()), replace(PRODUCT, shape=(), flops=3 * PRODUCT.flops)),
    "read_bytes": (PRODUCT, replace(PRODUCT, read_bytes=100 * PRODUCT.read_bytes)),
    "element_bytes": (PRODUCT, replace(PRODUCT, element_bytes=4)),
    "launches": (IMAGE, replace(IMAGE, launches=9)),
    "phase": (IMAGE, replace(IMAGE, phase=Phase.WEIGHT_GRADIENT)),
    "causal": (SCORES, replace(SCORES, causal=True)),
}


@pytest.mark.parametrize("field", DIFFERENT)
def test_products_that_differ_in_anything_have_prices_of_their_own(field):
    """A cost that has seen one product prices another one as a cost does that has seen none."""
    first, other = DIFFERENT[field]
    cost = RooflineCost(PROFILE, DEVICE)
    seconds = cost.seconds(first, "fp16")
    assert cost.seconds(other, "fp16") == RooflineCost(PROFILE, DEVICE).seconds(other, "fp16") != seconds
    assert cost.seconds(first, "fp16") == seconds
    assert cost.seconds(first, "tf32") == RooflineCost(PROFILE, DEVICE).seconds(first, "tf32")


def test_prices_of_products_are_bounded(monkeypatch):
    monkeypatch.setattr(compute, "PRODUCTS_KEPT", 4)
    cost = RooflineCost(PROFILE, DEVICE)
    for m in range(64, 640, 64):
        cost.seconds(matmul("linear", m, 64, 64, element_bytes=2), "fp16")
    kept = next(getattr(cost, field.name) for field in fields(cost) if not field.init)
    assert 0 < len(kept) <= 4


def test_jobs_share_a_cost_by_profile_and_device():
    cost = roofline(PROFILE, DEVICE)
    assert roofline(PROFILE, DEVICE) is cost
    assert roofline(PROFILE, replace(DEVICE, sms=1)) is not cost
    slower = roofline(PROFILE.scaled({"matmul": 2.0}), DEVICE)
    assert slower.seconds(PRODUCT, "fp16") == 2.0 * cost.seconds(PRODUCT, "fp16")


def test_kernels_are_remembered_by_all_that_they_depend_on():
    cost, instruction = roofline(PROFILE, DEVICE), kernel()
    known = kernels(cost, "fp16", 0.0, 1.0)
    assert kernels(cost, "fp16", 0.0, 1.0).timed(instruction) is known.timed(instruction)
    for other in (
        (RooflineCost(PROFILE, DEVICE), "fp16", 0.0, 1.0),
        (cost, "tf32", 0.0, 1.0),
        (cost, "fp16", 1e-3, 1.0),
        (cost, "fp16", 0.0, 1.5),
        (cost, "fp16", 0.0, 1.0, (), Dispatch(forward_s=1e-5)),
    ):
        assert kernels(*other) is not known
        assert kernels(*other).timed(instruction) == Kernels(*other).timed(instruction)
    assert kernels(cost, "fp16", 1e-3, 1.0).timed(instruction).launched_s > known.timed(instruction).launched_s


def test_kernels_are_forgotten_with_their_instruction():
    known, instruction, other = Kernels(ConstantCost(1.0), "fp32", 0.0, 1.0), kernel(), kernel()
    known.timed(instruction), known.timed(other)
    assert len(known) == 2
    del instruction
    gc.collect()
    assert len(known) == 1


def test_what_horovod_fuses_follows_the_device():
    """Its fusion depends on when gradients come: a program made for a V100 is not that of an H100."""
    training = {"batch_per_gpu": 256, "precision": "fp16"}
    job = {"cluster": "dgx_h100", "model": "resnet50", "training": training, "strategy": "horovod"}
    run(job | {"cluster": "dgx1_v100"})
    after = run(job).step_time_s
    compiler._compiled.cache_clear()
    assert run(job).step_time_s == after


def test_everything_an_operator_consists_of_was_thought_of():
    """What is added to operators is part of the key of products, or has nothing to do with their seconds."""
    in_key = {"family", "phase", "layout", "shape", "flops", "read_bytes", "written_bytes"}
    in_key |= {"launches", "causal", "generation"}
    chooses_units = {"element_bytes"}
    assert {field.name for field in fields(Operator)} == in_key | chooses_units | {"name", "split"}
