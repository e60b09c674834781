"""A sharded parameter server, synchronous or asynchronous.

A worker is one GPU, or a whole node whose GPUs sum their gradients first. As each gradient becomes ready it is summed
in the node, copied to the host and pushed to its shard; as soon as a shard has the new version it is pulled, copied to
the devices, and the next step begins when all keys are there (TensorFlow's distributed_replicated in tf_cnn_benchmarks,
MXNet's dist_device_sync). Every worker has one connection to each shard: pushes to one shard go in order, those to
different shards side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from simdml.errors import InfeasibleError
from simdml.program.instructions import (
    Collective,
    CollectiveKind,
    HostCopy,
    Instruction,
    Pull,
    Push,
    Record,
    StepEnd,
    Wait,
)
from simdml.program.mesh import Group, Mesh
from simdml.program.program import Program, RankProgram, Stream
from simdml.program.servers import ServerShard, ServerWork
from simdml.strategies.job import Job
from simdml.strategies.server_plan import ParameterServerPlan
from simdml.strategies.stage_code import StageCode
from simdml.workload.optimizer import FUSED

NODE = "node"
"""The group of the GPUs of one node, which act as one worker under local aggregation."""

PEER_COPIES = "peer_copies"
HOST_COPIES = "host_copies"


@dataclass(frozen=True, slots=True)
class Key:
    """One tensor, or part of one, on one shard; its gradient is ready after ``after`` parameters of backward."""

    name: str
    server: int
    payload_bytes: float
    after: int


def place(tensors: Sequence[tuple[str, int]], num_servers: int, placement: str) -> list[list[tuple[int, float]]]:
    """Return, for each ``(name, bytes)``, the (server, bytes) parts.

    ``round_robin`` in the given order; ``greedy_by_bytes`` gives each tensor to the least loaded server so far, as
    TensorFlow's GreedyLoadBalancingStrategy; ``sharded`` cuts each into equal parts.
    """
    if placement == "sharded":
        return [[(server, nbytes / num_servers) for server in range(num_servers)] for _, nbytes in tensors]
    load = [0.0] * num_servers
    parts = []
    for index, (_, nbytes) in enumerate(tensors):
        server = index % num_servers if placement == "round_robin" else load.index(min(load))
        load[server] += nbytes
        parts.append([(server, float(nbytes))])
    return parts


def compile_parameter_server(job: Job) -> Program:
    """Return the program of ``job``.

    Raises:
        InfeasibleError: with tensor or pipeline parallelism, which this strategy does not combine with.
    """
    plan = job.parameter_server
    assert plan is not None
    if job.mesh.size("tp") * job.mesh.size("pp") > 1:
        raise InfeasibleError("a parameter server does not combine with tp or pp", hint="leave mesh out")
    code = StageCode(job.build(job.training.microbatch).blocks, 1, job.training.recompute)
    keys = _keys(code, job, plan)
    mesh, classes, class_of_rank = _workers(job, plan, code, keys)
    workers = sum(any(isinstance(i, Push) for s in classes[c].streams for i in s.instructions) for c in class_of_rank)
    if plan.backup_workers >= workers:
        raise InfeasibleError(
            f"{plan.backup_workers} backup workers leave none of the {workers} workers that a step waits for",
            hint=f"backup_workers can be 0 to {workers - 1}",
        )
    work = plan.work or ServerWork(update=_update_bytes(job.training.optimizer))
    return Program(
        name=job.name,
        mesh=mesh,
        classes=classes,
        class_of_rank=class_of_rank,
        groups=(Group(NODE, ("local",)),) if mesh.size("local") > 1 else (),
        servers=tuple(
            ServerShard(f"server {index}", node, plan.rule(workers), work, plan.threads, plan.key_lock)
            for index, node in enumerate(plan.nodes)
        ),
    )


def _update_bytes(optimizer: str) -> float:
    """Return the bytes that a server reads and writes per gradient byte to apply ``optimizer`` to fp32 parameters."""
    return sum(read + written for _, read, written in FUSED[optimizer]) / 4


def _keys(code: StageCode, job: Job, plan: ParameterServerPlan) -> list[Key]:
    """Return keys in the order their gradients become ready, placed in registration order."""
    names = [
        f"{block.name}.{layer.name}.{parameter.name}"
        for block, layer in code.layers_in_backward_order()
        for parameter in reversed(layer.parameters)
    ]
    sizes = [elements * job.training.gradient_bytes for elements in code.gradients()]
    registered = list(zip(names, sizes, strict=True))[::-1]
    placed = place(registered, len(plan.nodes), plan.placement)[::-1]
    return [
        Key(f"{ready} {name}" + (f" part {server}" if len(parts) > 1 else ""), server, nbytes, ready + 1)
        for ready, (name, parts) in enumerate(zip(names, placed, strict=True))
        for server, nbytes in parts
    ]


def _workers(
    job: Job, plan: ParameterServerPlan, code: StageCode, keys: list[Key]
) -> tuple[Mesh, tuple[RankProgram, ...], tuple[int, ...]]:
    num_ranks = job.mesh.num_ranks
    local = 1
    if plan.local_aggregation:
        local = len(job.cluster.gpus_of(job.cluster.node_of(0)))
        local = min(local, num_ranks)
        if num_ranks % local:
            raise InfeasibleError(f"{num_ranks} GPUs are not whole nodes of {local}, so they cannot sum node by node")
    mesh = Mesh((("local", local), ("dp", num_ranks // local)))
    leader = _Worker(code, keys, local, plan, leads=True).build("worker")
    if local == 1:
        return mesh, (leader,), (0,) * num_ranks
    follower = _Worker(code, keys, local, plan, leads=False).build("member of a worker")
    return mesh, (leader, follower), tuple(min(1, mesh.coordinate(rank, "local")) for rank in range(num_ranks))


@dataclass(slots=True)
class _Worker:
    """Builds the streams of a GPU that talks to the servers, or of one that has another do it."""

    code: StageCode
    keys: list[Key]
    local: int
    plan: ParameterServerPlan
    leads: bool

    def build(self, name: str) -> RankProgram:
        """Return the rank program."""
        streams = [Stream("compute", tuple(self._compute()))]
        if self.local > 1:
            streams.append(Stream("sum in node", tuple(self._summed())))
        if self.leads:
            streams.append(Stream("to host", tuple(self._to_host())))
            for server in range(len(self.plan.nodes)):
                streams.append(Stream(f"push to {server}", tuple(self._pushed(server))))
                streams.append(Stream(f"pull from {server}", tuple(self._pulled(server))))
        streams.append(Stream("to device", tuple(self._to_device())))
        return RankProgram(name, tuple(stream for stream in streams if stream.instructions))

    def _compute(self) -> Iterator[Instruction]:
        yield self.code.forward()
        announced = 0

        def gradient_ready(count: int) -> Iterator[Instruction]:
            nonlocal announced
            while self.plan.overlap and announced < len(self.keys) and self.keys[announced].after <= count:
                yield Record(f"gradient {self.keys[announced].name}")
                announced += 1

        yield from self.code.backward_by_layer(gradient_ready)
        yield from (Record(f"gradient {key.name}") for key in self.keys[announced:])
        yield Wait("parameters", lag=self.plan.delay)
        yield StepEnd()

    def _summed(self) -> Iterator[Instruction]:
        for key in self.keys:
            yield Wait(f"gradient {key.name}")
            yield Collective(key.name, CollectiveKind.REDUCE, NODE, key.payload_bytes, PEER_COPIES)
            if self.leads:
                yield Record(f"sum {key.name}")

    def _to_host(self) -> Iterator[Instruction]:
        for key in self.keys:
            yield Wait(f"{'sum' if self.local > 1 else 'gradient'} {key.name}")
            yield HostCopy(key.name, key.payload_bytes, to_host=True)
            yield Record(f"host {key.name}")

    def _pushed(self, server: int) -> Iterator[Instruction]:
        for key in self.keys:
            if key.server == server:
                yield Wait(f"host {key.name}")
                yield Push(key.name, server, key.name, key.payload_bytes)
                yield Record(f"pushed {key.name}")

    def _pulled(self, server: int) -> Iterator[Instruction]:
        for key in self.keys:
            if key.server == server:
                yield Wait(f"pushed {key.name}")
                yield Pull(key.name, server, key.name, key.payload_bytes)
                yield Record(f"pulled {key.name}")

    def _to_device(self) -> Iterator[Instruction]:
        for key in self.keys:
            if self.leads:
                yield Wait(f"pulled {key.name}")
            if self.local > 1:
                yield Collective(key.name, CollectiveKind.BROADCAST, NODE, key.payload_bytes, HOST_COPIES)
            else:
                yield HostCopy(key.name, key.payload_bytes, to_host=False)
        yield Record("parameters")
