"""What a framework does for a kernel: closed forms, the readings it comes from, and defaults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes import SecondsAreFlops, work

import simdml
from simdml.cluster.physical import PROCESSORS
from simdml.costs.dispatch import DISPATCHES, NOTHING, OPERATION_S, THREAD_SPEED, Dispatch
from simdml.engine.kernels import Kernels
from simdml.program.instructions import Activity, Compute
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario
from simdml.strategies.compiler import compile_job

READINGS = Path(__file__).resolve().parents[2] / "calibrate" / "readings"
HOST = {"compiled": "cpu_epyc_1thread_host_compiled.json"}
SMALL = {
    "cluster": "dgx_a100",
    "gpus": 1,
    "model": "gpt2",
    "training": {"global_batch": 8, "microbatch": 1, "sequence": 64, "precision": "fp16", "recompute": "full"},
    "strategy": {"mesh": {"tp": 1}},
}


def readings(name):
    path = READINGS / HOST.get(name, "cpu_epyc_1thread_host.json")
    cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
    return {(c["case"]["op"], c["case"]["phase"], c["case"]["checkpointed"]): c for c in cases}


@pytest.mark.parametrize("name", ["megatron", "pytorch", "compiled"])
def test_dispatches_are_their_readings(name):
    """A layer run again in backward takes what checkpointing adds to backward, over the kernels of its forward."""
    found, dispatch = readings(name), DISPATCHES[name]
    forward, backward = found[name, "forward", False], found[name, "backward", False]
    checkpointed = found[name, "backward", True]
    added_s = checkpointed["seconds"] * checkpointed["kernels"] - backward["seconds"] * backward["kernels"]
    assert dispatch.forward_s == pytest.approx(forward["seconds"], rel=0.01)
    assert dispatch.backward_s == pytest.approx(backward["seconds"], rel=0.01)
    assert dispatch.recompute_s == pytest.approx(added_s / forward["kernels"], rel=0.01)
    calls = readings("pytorch")
    assert pytest.approx(calls["operation", "call", False]["seconds"], rel=0.03) == OPERATION_S


def test_a_compiled_layer_takes_its_host_less_than_one_of_modules():
    compiled, plain = readings("compiled"), readings("pytorch")
    for phase in ("forward", "backward"):
        one, other = (found[key, phase, False] for found, key in ((compiled, "compiled"), (plain, "pytorch")))
        assert one["kernels"] < other["kernels"]
        assert one["seconds"] * one["kernels"] < other["seconds"] * other["kernels"]


def test_kernels_wait_for_what_the_framework_does():
    """Two kernels of 1 s, each called in 2 s and launched in half of 1 s, end at 2.5 + 1 and 5 + 1."""
    dispatch = Dispatch(forward_s=2.0, backward_s=8.0, launch_share=0.5)
    timed = Kernels(SecondsAreFlops(), "fp32", 1.0, 1.0, dispatch=dispatch).timed(
        Compute("k", Activity.FORWARD, (work(1.0), work(1.0)))
    )
    assert (timed.seconds, timed.launched_s, timed.host_s) == (2.0, 6.0, 5.0)


def test_a_device_waits_after_every_kernel_of_an_executor_that_waits_for_it():
    """Two kernels of 1 s, launched in half of 1 s each and waited for 0.25 s, however far ahead the host is."""
    kernels = Kernels(SecondsAreFlops(), "fp32", 0.5, 1.0, dispatch=Dispatch(wait_s=0.25))
    timed = kernels.timed(Compute("k", Activity.FORWARD, (work(1.0), work(1.0))))
    assert (timed.seconds, timed.launched_s, timed.host_s) == (2.5, 3.0, 1.0)
    assert Dispatch(wait_s=0.25).times(2).wait_s == 0.5


def mxnet(dispatch, images):
    training = {"batch_per_gpu": images, "dispatch": dispatch, "fused_optimizer": True}
    return simdml.run("resnet50_ddp_25gbe", training=training, gpus=1).step_time_s


def test_mxnet_waits_whatever_the_batch_for_every_kernel_and_updates_every_tensor():
    small, large = (mxnet("mxnet", images) - mxnet("graph", images) for images in (8, 64))
    assert small == pytest.approx(large, rel=0.05)
    for dispatch, launches in (("mxnet", 161), ("tensorflow", 161), ("graph", 2)):
        changes = {"training": {"dispatch": dispatch, "fused_optimizer": True}, "gpus": 1}
        job = build(load_scenario("resnet50_ddp_25gbe", changes=changes)).job
        instructions = [each for stream in compile_job(job).classes[0].streams for each in stream.instructions]
        updates = [each for each in instructions if getattr(each, "activity", None) is Activity.OPTIMIZER]
        assert [operator.launches for each in updates for operator in each.operators] == [launches]


def test_every_activity_has_seconds_and_they_scale():
    dispatch = Dispatch(1.0, 2.0, 3.0, 4.0)
    assert [dispatch.of(each) for each in Activity] == [1.0, 3.0, 2.0, 4.0, 4.0]
    assert [dispatch.times(2).of(each) for each in Activity] == [2.0, 6.0, 4.0, 8.0, 8.0]


def test_every_processor_has_a_speed():
    assert set(THREAD_SPEED) == set(PROCESSORS)
    assert THREAD_SPEED["genoa"] == 1.0
    assert 0.5 < min(THREAD_SPEED.values()) < max(THREAD_SPEED.values()) < 1.2


def built(**changes):
    return build(load_scenario(SMALL | changes))


def test_systems_dispatch_as_they_do():
    rome = 1 / THREAD_SPEED["rome"]
    assert built().costs.dispatch == DISPATCHES["megatron"].times(rome)
    assert built(strategy="ddp").costs.dispatch == DISPATCHES["pytorch"].times(rome)
    assert built(strategy="mirrored").costs.dispatch == NOTHING
    assert built(strategy="parameter_server").costs.dispatch == NOTHING
    asked = SMALL["training"] | {"dispatch": "cuda_graphs"}
    assert built(training=asked).costs.launch_s(Activity.FORWARD) == 0.0


def test_small_models_wait_for_the_host_and_large_batches_do_not():
    def step_s(dispatch, microbatch, sequence):
        training = SMALL["training"] | {"dispatch": dispatch, "microbatch": microbatch, "sequence": sequence}
        return simdml.run(SMALL | {"training": training}).step_time_s

    assert step_s("megatron", 1, 64) > 1.2 * step_s("pytorch", 1, 64) > step_s("graph", 1, 64)
    assert step_s("graph", 1, 64) >= step_s("cuda_graphs", 1, 64)
    assert step_s("megatron", 8, 1024) == pytest.approx(step_s("graph", 8, 1024), rel=0.02)
