"""Layers that compute nothing, or hold nothing, wherever they are in a model, under every strategy and schedule."""

from dataclasses import replace

import pytest
from fakes import StarCluster, costs, job, layer, model

from simdml.calibration.profile import MemoryCoefficients
from simdml.costs.model import ServerCost
from simdml.engine.simulator import simulate
from simdml.strategies.compiler import compile_job
from simdml.strategies.data_parallel.kinds import KINDS
from simdml.strategies.footprint import footprint
from simdml.strategies.job import PipelinePlan
from simdml.strategies.parameter_server.plan import ParameterServerPlan
from simdml.strategies.schedules import SCHEDULES
from simdml.workload.model import Layer, Parameter

NOTHING = Layer("nothing", (), ())
STATE = Layer("state", (), (), (Parameter("p", 1000),))
WORK = layer(1.0, 1.0, [1000])
MODELS = {
    "first": [[NOTHING], [WORK], [WORK], [WORK]],
    "last": [[WORK], [WORK], [WORK], [STATE]],
    "inside": [[WORK, NOTHING], [STATE, WORK], [WORK], [NOTHING, WORK, STATE]],
    "no layers": [[], [WORK], [WORK], []],
    "no work": [[STATE], [NOTHING], [STATE], [STATE]],
}
MEMORY = MemoryCoefficients(0.0, 0.0, 0.0, 1.0)
ONE_MACHINE = {"mirrored", "dataparallel", "one_weird_trick"}
"""Strategies that star clusters of one-GPU nodes cannot have, or that need convolutions."""


def seconds(the_job):
    assert footprint(the_job, MEMORY)
    program, prices = compile_job(the_job), costs(the_job.cluster, server=ServerCost(bytes_per_s=1e30))
    return simulate(program, the_job.cluster, prices).step_time_s


def toy(name, times=1):
    return model([(layers, 8.0) for layers in MODELS[name] * times])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ONE_MACHINE])
def test_data_parallel(kind, name):
    axes = {"dp": (("dp", 4),), "dp_shard": (("dp_shard", 4),), "dp_node": (("dp_node", 2), ("dp", 2))}
    plans = {"data_parallel": KINDS[kind].plan, "num_microbatches": 8, "optimizer": "adam"}
    work = sum(each is WORK for layers in MODELS[name] for each in layers)
    found = seconds(job(StarCluster(4), toy(name), axes[KINDS[kind].axes[0]], **plans))
    assert 16 * work <= found < 16 * work + 0.01


@pytest.mark.parametrize("recompute", ["none", "stage"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", MODELS)
def test_pipelines(name, schedule, recompute):
    """Sixteen micro-batches of forward and backward, 1 s each, on the device that has most layers to do."""
    chunks = SCHEDULES[schedule].chunks
    halved = schedule == "dual_pipe"
    blocks = toy(name, chunks)
    begins = tuple(range(0, len(blocks.blocks), 2 if halved else 1))
    plan = PipelinePlan(schedule, chunks, balance=begins)
    the_job = job(StarCluster(4), blocks, (("pp", 4),), num_microbatches=16, pipeline=plan)
    the_job = replace(the_job, training=replace(the_job.training, recompute=recompute))
    work = sum(each is WORK for block in blocks.blocks for each in block.layers)
    assert seconds(the_job) >= (16 * 2 * work / 4 if work else 0.0)


@pytest.mark.parametrize("consistency", ["bsp", "asynchronous"])
@pytest.mark.parametrize("name", MODELS)
def test_parameter_servers(name, consistency):
    plan = ParameterServerPlan((2,), consistency=consistency)
    assert seconds(job(StarCluster(2, servers=1), toy(name), (("dp", 2),), parameter_server=plan)) > 0
