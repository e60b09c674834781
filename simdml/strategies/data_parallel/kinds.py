"""Data-parallel strategies by name; a new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from simdml.errors import InfeasibleError, UnknownNameError
from simdml.program.mesh import Group, Mesh
from simdml.registry import Registry
from simdml.strategies import expert_parallel
from simdml.strategies.data_parallel.kind import SHARDED, Kind
from simdml.strategies.data_parallel.replica import Replica, ReplicaMemory
from simdml.strategies.data_parallel.units import EXPERT_SHARD, SHARD
from simdml.strategies.job import DataParallelPlan, Job, ReplicaPlan, gradient_ranks
from simdml.strategies.schedules import find_schedule
from simdml.strategies.stage_code import StageCode

KINDS: Final[Mapping[str, Kind]] = Registry(
    "simdml.strategies.data_parallel",
    {
        "ddp": "ddp:KIND",
        "distributed_optimizer": "distributed_optimizer:KIND",
        "zero1": "zero:ZERO_1",
        "zero2": "zero:ZERO_2",
        "zero3": "zero3:KIND",
        "local_sgd": "local_sgd:KIND",
        "fsdp1": "fsdp1:KIND",
        "fsdp2": "fsdp2:KIND",
        "horovod": "horovod:KIND",
        "dataparallel": "one_process:KIND",
        "mirrored": "mirrored:KIND",
        "multiworker_mirrored": "multiworker:KIND",
        "one_weird_trick": "one_weird_trick:KIND",
        "hsdp": "fsdp2:HSDP",
    },
)


def find_kind(name: str) -> Kind:
    """Return the data-parallel strategy called ``name``.

    Raises:
        UnknownNameError: with the nearest names.
    """
    if name not in KINDS:
        raise UnknownNameError("data-parallel strategy", name, KINDS)
    return KINDS[name]


def refuse_combinations(kind: Kind, mesh: Mesh) -> None:
    """Refuse degrees of model parallelism that the strategy does not go with.

    Raises:
        InfeasibleError: with the strategy that does.
    """
    for axis in ("tp", "pp", "cp", "ep"):
        if mesh.size(axis) > 1 and axis not in kind.combines:
            why = f"{kind.strategy.system} has no such mode" if axis in kind.lacks else "that is not modelled"
            raise InfeasibleError(
                f"{kind.strategy.name} does not combine with {axis}: {why}",
                hint=f"leave {axis} out, or use kind: {kind.instead}",
            )


def replica_groups(job: Job) -> list[Group]:
    """Return the groups along which replicas of ``job`` may communicate.

    Parts of sequences (cp) and of experts (ep) share the gradients of what they all hold, like replicas.
    """
    kind = find_kind(job.data_parallel.kind if job.data_parallel is not None else "ddp")
    apart = expert_parallel.axes(job.mesh, job.spread.ep)
    beside = () if "cp" in apart else ("cp",)
    last, of_experts = (SHARD, EXPERT_SHARD) if kind.axes == SHARDED else ("dp", expert_parallel.GRADIENTS)
    shared = [Group(last, ("cp", "ep", last)), Group(of_experts, (*beside, last))]
    alone = [Group(axis, (axis,)) for axis in ("dp_node", "dp_replicate")]
    return [*alone, Group(expert_parallel.GROUP, apart), *shared, *kind.groups]


def replica_roles(job: Job) -> tuple[str, ...]:
    """Return the roles that ranks of one pipeline coordinate have: none in particular, or the first and the others."""
    if job.data_parallel is None or gradient_ranks(job.mesh) == 1:
        return ("",)
    return find_kind(job.data_parallel.kind).roles or ("",)


def make_replica(job: Job, code: Sequence[StageCode], role: int = 0) -> Replica:
    """Return the rank that holds ``code``, as the job's plan has it.

    Raises:
        InfeasibleError: a degree of model parallelism that the strategy does not go with.
    """
    if gradient_ranks(job.mesh) == 1:
        return Replica(job, code)
    plan: ReplicaPlan = job.data_parallel or DataParallelPlan()
    kind = find_kind(plan.kind)
    _refuse_unflushed(job, kind)
    refuse_combinations(kind, job.mesh)
    return kind.replica(job, code, plan, role) if kind.roles else kind.replica(job, code, plan)


def replica_memory(job: Job, code: Sequence[StageCode], role: int = 0) -> ReplicaMemory:
    """Return what the training state of the rank that holds ``code`` takes."""
    plan = job.data_parallel
    if gradient_ranks(job.mesh) == 1 and plan is not None and (kind := find_kind(plan.kind)).alone:
        state: ReplicaMemory = kind.replica(job, code, plan).memory()
        return state
    return make_replica(job, code, role).memory()


def _refuse_unflushed(job: Job, kind: Kind) -> None:
    """Refuse shards that a schedule without flush would gather in one version and update in another."""
    schedule = find_schedule(job.pipeline.schedule)
    flushes = schedule.warm_up is None and not schedule.update_each
    if job.mesh.size("pp") > 1 and not flushes and kind.strategy.name != "ddp":
        raise InfeasibleError(
            f"{kind.strategy.name} does not combine with {schedule.name}, which keeps several versions of the weights",
            hint="use kind: ddp, or a schedule that flushes, such as 1f1b",
        )
