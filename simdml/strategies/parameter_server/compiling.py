"""From a job with parameter servers to its program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from simdml.cluster.endpoint import host
from simdml.errors import InfeasibleError
from simdml.program.mesh import Group, Mesh
from simdml.program.program import Program, RankProgram
from simdml.program.servers import ServerShard, ServerWork
from simdml.strategies.job import Job
from simdml.strategies.parameter_server import lbfgs
from simdml.strategies.parameter_server.aggregation import NODE, Node
from simdml.strategies.parameter_server.keys import Key, keys_of
from simdml.strategies.parameter_server.placement import Servers
from simdml.strategies.parameter_server.plan import ParameterServerPlan
from simdml.strategies.parameter_server.replica import AXIS, ReplicaPart
from simdml.strategies.parameter_server.worker import Worker
from simdml.strategies.stage_code import StageCode
from simdml.strategies.stages import cut
from simdml.workload.model import Block
from simdml.workload.optimizer import FUSED


def compile_parameter_server(job: Job) -> Program:
    """Return the program of ``job``.

    Raises:
        InfeasibleError: with tensor parallelism, or workers that cannot be made of the GPUs.
    """
    plan = job.parameter_server
    assert plan is not None
    if job.mesh.size("tp") > 1:
        raise InfeasibleError("a parameter server does not combine with tp", hint="leave mesh out")
    mesh = _mesh(job, plan)
    workers = mesh.size("dp")
    if plan.backup_workers >= workers:
        raise InfeasibleError(
            f"{plan.backup_workers} backup workers leave none of the {workers} workers that a step waits for",
            hint=f"backup_workers can be 0 to {workers - 1}",
        )
    nodes = shard_nodes(job)
    classes = tuple(_classes(job, plan, mesh, len(nodes)))
    per_stage = 2 if mesh.size("local") > 1 else 1
    return Program(
        name=job.name,
        mesh=mesh,
        classes=classes,
        class_of_rank=tuple(
            per_stage * mesh.coordinate(rank, AXIS) + min(1, mesh.coordinate(rank, "local"))
            for rank in range(mesh.num_ranks)
        ),
        groups=(Group(NODE, ("local",)),) if mesh.size("local") > 1 else (),
        servers=tuple(
            ServerShard(
                f"server {index}" if len(where) == 1 else f"{len(where)} equal servers",
                where,
                plan.rule(workers),
                server_work(plan, job.training.optimizer),
                plan.threads,
                plan.key_lock,
            )
            for index, where in enumerate(nodes)
        ),
    )


def server_work(plan: ParameterServerPlan, optimizer: str) -> ServerWork:
    """Return the bytes a shard moves per byte pushed.

    An update reads and writes what the optimizer does, in fp32. What was compressed is read as it came and summed in
    full: a pushed byte stands for as many bytes of gradient as compression says.
    """
    if plan.lbfgs_history is not None:
        return ServerWork(update=lbfgs.vectors_moved(plan.lbfgs_history), commands=lbfgs.commands(plan.lbfgs_history))
    update = sum(read + written for _, read, written in FUSED[optimizer]) / 4
    work = plan.work or ServerWork(update=update if plan.update == "server" else 0.0)
    ratio = plan.compression.push
    return replace(
        work,
        copy=1 + (work.copy - 1) * ratio,
        sum=1 + (work.sum - 1) * ratio,
        update=work.update * ratio,
    )


def _mesh(job: Job, plan: ParameterServerPlan) -> Mesh:
    num_ranks, stages = job.mesh.num_ranks, job.mesh.size(AXIS)
    if plan.local_aggregation == "none":
        return Mesh((("local", 1), (AXIS, stages), ("dp", num_ranks // stages)))
    if stages > 1:
        raise InfeasibleError(
            "GPUs that hold different parts of a model cannot sum their gradients",
            hint="local_aggregation: none, or model_parallel: 1",
        )
    local = min(len(job.cluster.gpus_of(job.cluster.node_of(0))), num_ranks)
    if num_ranks % local:
        raise InfeasibleError(f"{num_ranks} GPUs are not whole nodes of {local}, so they cannot sum node by node")
    return Mesh((("local", local), ("dp", num_ranks // local)))


def shard_nodes(job: Job) -> tuple[tuple[int, ...], ...]:
    """Return the nodes of each shard of ``job``: one, or all where every server gets the same part of every message.

    Such servers are in the same state at any time, so one stands for all, and a message to all of them is one
    transfer that loads each with its part.
    """
    plan = job.parameter_server
    if plan is None:
        return ()
    alone: tuple[tuple[int, ...], ...] = tuple((node,) for node in plan.nodes)
    if plan.placement != "sharded" or len(alone) == 1:
        return alone
    cluster = job.cluster
    workers = {cluster.node_of(gpu) for gpu in range(job.mesh.num_ranks)}
    network = getattr(cluster, "network", None)
    one_switch = network is None or {"leaf", "spine"} <= network.spare_kinds
    near = host(min(workers))
    rates = {
        tuple(float(cluster.links.capacity_bytes_per_s[link]) for link in cluster.route(near, host(node)).links)
        for node in plan.nodes
    }
    equal = one_switch and len(rates) == 1 and not workers & set(plan.nodes)
    return (plan.nodes,) if equal else alone


def _classes(job: Job, plan: ParameterServerPlan, mesh: Mesh, num_servers: int) -> Iterator[RankProgram]:
    """Yield the rank classes: for each stage a worker, and if its node sums, a member of it that does not push."""
    model = job.build(job.training.microbatch)
    stages = cut(model, mesh.size(AXIS), job.pipeline.balance)
    element_bytes = job.training.gradient_bytes
    servers = Servers(num_servers, plan.extra_servers, plan.big_array * element_bytes)
    for stage, blocks in enumerate(stages):
        code = StageCode(blocks, 1, job.training.recompute)
        name, prefix = ("worker", "") if len(stages) == 1 else (f"stage {stage} of a replica", f"stage {stage}: ")
        keys = keys_of(code, plan, servers, element_bytes, prefix)
        batch = () if job.input is None else tuple(job.input.take())
        part = ReplicaPart(stage, len(stages), _sent(stages, stage - 1), _sent(stages, stage), batch)
        yield _worker(job, plan, code, keys, mesh, part, leads=True).build(name)
        if mesh.size("local") > 1:
            yield _worker(job, plan, code, keys, mesh, part, leads=False).build("member of a worker")


def _sent(stages: tuple[tuple[Block, ...], ...], stage: int) -> float:
    return stages[stage][-1].output_bytes if 0 <= stage < len(stages) - 1 else 0.0


def _worker(
    job: Job, plan: ParameterServerPlan, code: StageCode, keys: list[Key], mesh: Mesh, part: ReplicaPart, *, leads: bool
) -> Worker:
    kind = plan.local_aggregation if mesh.size("local") > 1 else "none"
    portions = job.training.num_microbatches * mesh.size("dp") if plan.portions == "shared" else 0
    node = Node(kind, mesh.size("local"), leads, tagged=plan.priority != "none")
    return Worker(code, keys, plan, job.training, node, part, portions)
