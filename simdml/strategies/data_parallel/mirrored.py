"""TensorFlow's MirroredStrategy: variables on every GPU of a machine, gradients summed when all are there.

The sources are tensorflow/python/distribute/cross_device_ops.py and cross_device_utils.py. Gradients are concatenated
and cut into packs, so that the first sum waits for the last gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from simdml.errors import InfeasibleError
from simdml.program.instructions import (
    HIERARCHICAL_COPIES,
    ROOT_COPIES,
    Activity,
    Collective,
    CollectiveKind,
    Compute,
    Instruction,
)
from simdml.strategies.data_parallel.gathering import copy
from simdml.strategies.data_parallel.kind import DP, TENSORFLOW, Kind
from simdml.strategies.data_parallel.replica import Replica, ReplicaMemory
from simdml.strategies.strategy import Strategy
from simdml.workload.operators import Family, Phase, memory_bound

GROUP: Final = "dp"
ROLES: Final = ("device 0", "other devices")

CrossDeviceOps = Literal["nccl", "hierarchical_copy", "reduction_to_one_device"]


@dataclass(frozen=True, slots=True)
class MirroredPlan:
    """MirroredStrategy's cross_device_ops, NcclAllReduce on GPUs, in ``num_packs`` packs."""

    cross_device_ops: CrossDeviceOps = "nccl"
    num_packs: int = 1

    @property
    def kind(self) -> str:
        """The strategy's name."""
        return "mirrored"


@dataclass(slots=True)
class MirroredReplica(Replica):
    """One GPU; role 0 is the device that others' gradients are summed on where copies do it."""

    plan: MirroredPlan
    role: int

    def __post_init__(self) -> None:
        cluster, last = self.job.cluster, self.job.mesh.num_ranks - 1
        if cluster.node_of(0) != cluster.node_of(last):
            raise InfeasibleError(
                f"mirrored is for one machine, and {last + 1} GPUs are on several",
                hint="strategy: multiworker_mirrored",
            )

    def finish(self) -> Iterator[Instruction]:
        """Yield the sum of all gradients over the devices."""
        gradients = [count * self.job.training.gradient_bytes for code in self.code for count in code.gradients()]
        if self.plan.cross_device_ops == "reduction_to_one_device":
            for nbytes in gradients:
                yield from self._through_one_device(float(nbytes))
            return
        whole = float(sum(gradients))
        yield copy("gradients into packs", whole, whole)
        for pack in range(self.plan.num_packs):
            yield from self._pack(f"pack {pack}", whole / self.plan.num_packs)
        yield copy("gradients from packs", whole, whole)

    def memory(self) -> ReplicaMemory:
        """Return the training state, and the packs before and after the sum."""
        state = Replica.memory(self)
        if self.plan.cross_device_ops == "reduction_to_one_device":
            received = (self._ranks() - 1) * state.gradients if self.role == 0 else state.gradients
            return replace(state, buffers=received)
        return replace(state, buffers=2 * state.gradients)

    def _ranks(self) -> int:
        return self.job.mesh.size(GROUP)

    def _pack(self, label: str, nbytes: float) -> Iterator[Instruction]:
        if self.plan.cross_device_ops == "nccl":
            yield Collective(label, CollectiveKind.ALL_REDUCE, GROUP, nbytes)
            return
        half = self._ranks() // 2
        for kind, added in (
            (CollectiveKind.REDUCE, half),
            (CollectiveKind.ALL_REDUCE, 2),
            (CollectiveKind.BROADCAST, 0),
        ):
            yield Collective(label, kind, GROUP, nbytes, HIERARCHICAL_COPIES)
            if added and self.role == 0:
                yield _sum(label, nbytes, added)

    def _through_one_device(self, nbytes: float) -> Iterator[Instruction]:
        yield Collective("gradient", CollectiveKind.REDUCE, GROUP, nbytes, ROOT_COPIES)
        if self.role == 0:
            yield _sum("gradient", nbytes, self._ranks())
        yield Collective("gradient", CollectiveKind.BROADCAST, GROUP, nbytes, ROOT_COPIES)


def _sum(label: str, nbytes: float, terms: int) -> Compute:
    """Return AddN of so many tensors."""
    operator = memory_bound(
        "add_n",
        Family.ELEMENTWISE,
        read_bytes=terms * nbytes,
        written_bytes=nbytes,
        element_bytes=4,
        phase=Phase.WEIGHT_GRADIENT,
    )
    return Compute(f"sum of {label}", Activity.CAST, (operator,))


STRATEGY = Strategy(
    name="mirrored",
    system="TensorFlow MirroredStrategy",
    meaning="variables on every GPU of a machine; gradients are summed in packs when all of them are there",
    models=(
        "NcclAllReduce: gradients concatenated, cut into num_packs packs, all-reduced by NCCL, taken apart.",
        "HierarchicalCopyAllReduce: copies to one GPU of each half, a sum there, an exchange, and copies back.",
        "ReductionToOneDevice: every gradient copied to device 0, summed, copied back.",
    ),
    leaves_out=(
        "Packs by halves go through different GPUs in turn in TensorFlow, through the first ones here.",
        "Graph executors that start sums before backward is over.",
    ),
    sources=("tensorflow/python/distribute/cross_device_ops.py and cross_device_utils.py",),
)
KIND: Final = Kind(STRATEGY, MirroredPlan(), MirroredReplica, DP, (), framework=TENSORFLOW, roles=ROLES)
