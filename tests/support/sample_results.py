"""Small results of every kind of job, for tests of what is read from them and how they look."""

from __future__ import annotations

from functools import cache

from fakes import StarCluster, costs, job, layer, model

from simdml.costs.memory import MemoryEstimate
from simdml.costs.model import ServerCost
from simdml.engine.simulator import simulate
from simdml.results.analysis import analyse
from simdml.results.result import Result
from simdml.strategies.compiler import compile_job
from simdml.strategies.job import DataParallelPlan, PipelinePlan
from simdml.strategies.parameter_server.plan import ParameterServerPlan

GIB = 2.0**30


def memory(*rank_classes, total_gib=48.0, capacity_gib=80.0):
    share = total_gib * GIB / 6
    return tuple(MemoryEstimate(name, *(share,) * 6, capacity_gib * GIB) for name in rank_classes or ("every rank",))


def result(the_job, *rank_classes, notes=(), launch_s=0.0, server=None, **options) -> Result:
    cluster = the_job.cluster
    model_costs = costs(cluster, launch_s=launch_s, server=server or ServerCost())
    recording = simulate(compile_job(the_job), cluster, model_costs, **options)
    inputs = {"cluster": cluster.name, "mesh": dict(the_job.mesh.axes)}
    return analyse(recording, the_job, memory(*rank_classes), inputs=inputs, notes=notes)


@cache
def ddp() -> Result:
    toy = model([([layer(1.0, 2.0, [2**20])], 0.0) for _ in range(4)])
    plan = DataParallelPlan(bucket_cap_bytes=2**22)
    the_job = job(StarCluster(4, bandwidth=2.0**22), toy, (("dp", 4),), data_parallel=plan)
    return result(the_job, launch_s=0.25, notes=("a note with <angle brackets> & an ampersand",))


@cache
def pipeline(schedule="1f1b", depth=4, microbatches=8, dp=1) -> Result:
    toy = model([([layer(1.0, 2.0, [2**18])], 2.0**20) for _ in range(depth)])
    plan = PipelinePlan(schedule, 1, balance=tuple(range(depth)))
    mesh = (("dp", dp), ("pp", depth))
    the_job = job(StarCluster(depth * dp, 2.0**22), toy, mesh, num_microbatches=microbatches, pipeline=plan)
    return result(the_job, *(f"stage {stage}" for stage in range(depth)))


@cache
def parameter_server(*, synchronous=True, workers=4, servers=2) -> Result:
    cluster = StarCluster(workers, bandwidth=2.0**22, servers=servers)
    toy = model([([layer(0.5, 1.0, [2**19])], 0.0) for _ in range(3)])
    plan = ParameterServerPlan(
        tuple(range(workers, workers + servers)),
        consistency="bsp" if synchronous else "asynchronous",
        placement="mxnet_hash",
        big_array=1,
    )
    the_job = job(cluster, toy, (("dp", workers),), parameter_server=plan)
    return result(the_job, server=ServerCost(bytes_per_s=2.0**25), steps=3 if synchronous else 12)


def every_kind() -> dict[str, Result]:
    return {
        "ddp": ddp(),
        "1f1b": pipeline(),
        "gpipe": pipeline("gpipe"),
        "pipeline with data parallelism": pipeline(dp=2),
        "synchronous server": parameter_server(),
        "asynchronous server": parameter_server(synchronous=False),
    }
