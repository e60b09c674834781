"""What runs leave behind: nothing that the cycle collector would have to find."""

from __future__ import annotations

import gc

import pytest

from simdml.scenario.simulate import run

V100 = {"training": {"batch_per_gpu": 32, "precision": "fp16"}, "cluster": {"name": "pcie_8gpu_25gbe", "nodes": 2}}
SERVERS = {"servers": 1, "consistency": "asynchronous"}
JOBS = {
    "data parallel": {"model": "resnet50", "strategy": "ddp"},
    "contended, with jitter": {
        "model": "resnet50",
        "strategy": "ddp",
        "faults": [{"jitter": "lognormal", "cv": 0.2}],
        "simulate": {"steps": 5},
    },
    "pipeline": {
        "model": "gpt2",
        "training": {"global_batch": 32, "microbatch": 1, "precision": "fp16"},
        "strategy": {"mesh": {"tp": 2, "pp": 4}},
    },
    "crews": {
        "cluster": {"name": "dgx_h100", "nodes": 8},
        "model": "gpt2_medium",
        "training": {"global_batch": 16, "precision": "fp16"},
        "strategy": {
            "mesh": {"tp": 8, "pp": 4, "order": ["tp", "pp", "dp"]},
            "pipeline": {"schedule": "interleaved_1f1b", "chunks": 2, "microbatch": 1},
        },
        "faults": [{"slow": "gpu 1", "by": 1.2}, {"slow": "gpu 44", "by": 1.5}],
    },
    "lanes": {"gpus": 2, "model": "alexnet", "strategy": "mxnet_p3", "simulate": {"steps": 2}},
    "asynchronous servers": {"model": "alexnet", "strategy": {"parameter_server": SERVERS}, "simulate": {"steps": 2}},
}


@pytest.fixture
def no_collection():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("name", JOBS)
def test_a_finished_run_is_gone_when_its_result_is(name, no_collection):
    """All of it: streams that await and blame each other, transfers under way, and what results were made from."""
    run(V100 | JOBS[name])
    gc.collect()
    result = run(V100 | JOBS[name])
    assert result.breakdown
    assert result.recording.execution.ranks[0].streams[0].entries
    gc.collect()
    del result
    assert gc.collect() == 0
