"""Data-parallel strategies by name; a new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from simdml.errors import InfeasibleError, UnknownNameError
from simdml.program.mesh import Group, Mesh
from simdml.strategies import expert_parallel
from simdml.strategies.data_parallel import (
    ddp,
    distributed_optimizer,
    fsdp1,
    fsdp2,
    horovod,
    local_sgd,
    mirrored,
    multiworker,
    one_process,
    one_weird_trick,
    zero,
    zero3,
)
from simdml.strategies.data_parallel.replica import Replica
from simdml.strategies.data_parallel.units import EXPERT_SHARD, SHARD
from simdml.strategies.job import DataParallelPlan, Job, ReplicaPlan, gradient_ranks
from simdml.strategies.schedules import find_schedule
from simdml.strategies.stage_code import StageCode
from simdml.strategies.strategy import Strategy

MakeReplica = Callable[..., Replica]
"""Makes the rank of a job that holds some code, as a plan has it; the last argument is its role if a kind has any."""

PYTORCH: Final = "PyTorch"
MEGATRON: Final = "Megatron-LM"
TENSORFLOW: Final = "TensorFlow"
DP: Final = ("dp",)
NODES: Final = (local_sgd.NODE_AXIS, "dp")
SHARDED: Final = (SHARD, "dp_replicate")
ALL: Final = ("tp", "pp", "cp", "ep")


@dataclass(frozen=True, slots=True)
class Kind:
    """A data-parallel strategy: what it stands for, its plan with that system's defaults, and its compiler.

    ``axes`` are the mesh axes its replicas lie on; ``combines`` the degrees of model parallelism it goes with,
    ``lacks`` those of the others that the system itself has not got, and ``instead`` what to use where it does not.
    ``framework`` is whose defaults hold for the rest of the job; empty for PyTorch's alone and Megatron-LM's with a
    mesh. ``accumulates`` says that the model's own kernels add gradients of micro-batches; otherwise the strategy does.
    ``groups`` are those beside the ones along each data-parallel axis; ``roles`` names the first rank and the others
    where they do different things.
    """

    strategy: Strategy
    plan: Any
    replica: MakeReplica
    axes: tuple[str, ...] = DP
    combines: tuple[str, ...] = ("tp", "pp")
    lacks: tuple[str, ...] = ("tp", "pp")
    instead: str = "ddp"
    framework: str = ""
    accumulates: bool = True
    groups: tuple[Group, ...] = ()
    roles: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, object]:
        """The options of the strategy with their defaults; units at the end of a name left out."""
        return {
            option_name(field.name): getattr(self.plan, field.name)
            for field in fields(self.plan)
            if field.metadata.get("option", True)
        }


def option_name(field_name: str) -> str:
    """Return how a scenario calls a field of a plan: quantities carry their units there."""
    for unit in ("_bytes", "_s"):
        field_name = field_name.removesuffix(unit)
    return field_name


KINDS: Mapping[str, Kind] = {
    kind.strategy.name: kind
    for kind in (
        Kind(ddp.STRATEGY, DataParallelPlan(), ddp.DdpReplica, combines=ALL),
        Kind(
            distributed_optimizer.STRATEGY,
            distributed_optimizer.DistributedOptimizerPlan(),
            distributed_optimizer.DistributedOptimizerReplica,
            combines=ALL,
            framework=MEGATRON,
        ),
        Kind(zero.STAGE_1, zero.Zero1Plan(), zero.ZeroReplica, combines=ALL, framework=PYTORCH),
        Kind(
            zero.STAGE_2,
            zero.Zero2Plan(),
            zero.ZeroReplica,
            combines=("tp", "cp", "ep"),
            instead="zero1",
            framework=PYTORCH,
            accumulates=False,
        ),
        Kind(
            zero3.STRATEGY,
            zero3.Zero3Plan(),
            zero3.Zero3Replica,
            combines=("tp", "cp"),
            lacks=("pp", "ep"),
            instead="zero1",
            framework=PYTORCH,
            accumulates=False,
        ),
        Kind(
            local_sgd.STRATEGY,
            local_sgd.LocalSgdPlan(),
            local_sgd.LocalSgdReplica,
            NODES,
            (),
            framework=PYTORCH,
            groups=(local_sgd.ALL_REPLICAS,),
        ),
        Kind(
            fsdp1.STRATEGY,
            fsdp1.Fsdp1Plan(),
            fsdp1.Fsdp1Replica,
            SHARDED,
            combines=("tp",),
            instead="fsdp2",
            framework=PYTORCH,
            accumulates=False,
        ),
        Kind(fsdp2.STRATEGY, fsdp2.Fsdp2Plan(), fsdp2.Fsdp2Replica, SHARDED, ALL, framework=PYTORCH, accumulates=False),
        Kind(horovod.STRATEGY, horovod.HorovodPlan(), horovod.HorovodReplica, DP, (), framework=PYTORCH),
        Kind(
            one_process.STRATEGY,
            one_process.DataParallelModulePlan(),
            one_process.DataParallelReplica,
            DP,
            (),
            framework=PYTORCH,
            roles=one_process.ROLES,
        ),
        Kind(
            mirrored.STRATEGY,
            mirrored.MirroredPlan(),
            mirrored.MirroredReplica,
            DP,
            (),
            framework=TENSORFLOW,
            roles=mirrored.ROLES,
        ),
        Kind(
            multiworker.STRATEGY,
            multiworker.MultiWorkerMirroredPlan(),
            multiworker.MultiWorkerReplica,
            DP,
            (),
            framework=TENSORFLOW,
        ),
        Kind(
            one_weird_trick.STRATEGY,
            one_weird_trick.OneWeirdTrickPlan(),
            one_weird_trick.OneWeirdTrickReplica,
            DP,
            (),
            framework=PYTORCH,
        ),
        Kind(fsdp2.HYBRID, fsdp2.HsdpPlan(), fsdp2.Fsdp2Replica, SHARDED, ALL, framework=PYTORCH, accumulates=False),
    )
}


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


def _refuse_unflushed(job: Job, kind: Kind) -> None:
    """Refuse shards that a schedule without flush would gather in one version and update in another."""
    schedule = find_schedule(job.pipeline.schedule)
    flushes = schedule.warm_up is None and not schedule.update_each
    if job.mesh.size("pp") > 1 and not flushes and kind.strategy.name != "ddp":
        raise InfeasibleError(
            f"{kind.strategy.name} does not combine with {schedule.name}, which keeps several versions of the weights",
            hint="use kind: ddp, or a schedule that flushes, such as 1f1b",
        )
