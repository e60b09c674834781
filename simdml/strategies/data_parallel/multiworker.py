"""TensorFlow's MultiWorkerMirroredStrategy: mirrored variables over machines, summed by collective ops.

The source is tensorflow/python/distribute/cross_device_ops.py, CollectiveAllReduce: gradients in reverse order, packed
up to ``bytes_per_pack``; 0 makes one pack of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from simdml.program.instructions import GRPC_RING, Collective, CollectiveKind, Instruction, Record, Wait
from simdml.program.program import Stream
from simdml.strategies.data_parallel.buckets import Bucket, assign_buckets
from simdml.strategies.data_parallel.gathering import copy
from simdml.strategies.data_parallel.kind import DP, TENSORFLOW, Kind
from simdml.strategies.data_parallel.replica import CommunicationStream, Replica, ReplicaMemory
from simdml.strategies.stage_code import Backward
from simdml.strategies.strategy import Strategy

GROUP: Final = "dp"

Implementation = Literal["nccl", "ring"]


@dataclass(frozen=True, slots=True)
class MultiWorkerMirroredPlan:
    """CommunicationOptions: AUTO, which is NCCL on GPUs, and one pack."""

    implementation: Implementation = "nccl"
    bytes_per_pack: int = 0

    @property
    def kind(self) -> str:
        """The strategy's name."""
        return "multiworker_mirrored"


@dataclass(slots=True)
class MultiWorkerReplica(Replica):
    """A rank whose packs are all-reduced as their gradients get ready, one after the other."""

    plan: MultiWorkerMirroredPlan
    reductions: CommunicationStream = field(default_factory=lambda: CommunicationStream("packs"))
    _awaited: list[str] = field(default_factory=list)

    def backward(self, chunk: int, *, last: bool, half: Backward = Backward.WHOLE) -> Iterator[Instruction]:
        """Yield a backward; the last one reduces."""
        code = self.code[chunk].only(half)
        if not last:
            yield code.backward()
            return
        packs = self._packs([count * self.job.training.gradient_bytes for count in code.gradients()])
        launched = 0

        def gradient_ready(count: int) -> Iterator[Instruction]:
            nonlocal launched
            while launched < len(packs) and packs[launched].parameters[-1] < count:
                yield from self._reduce(f"pack {launched} of chunk {chunk}", float(packs[launched].payload_bytes))
                launched += 1

        yield from code.backward_by_layer(gradient_ready)

    def finish(self) -> Iterator[Instruction]:
        """Yield the wait for all packs, and the copies out of them."""
        for event in self._awaited:
            yield Wait(f"{event} reduced")
        nbytes = float(self.elements * self.job.training.gradient_bytes)
        yield copy("gradients from packs", nbytes, nbytes)

    def streams(self) -> Iterable[Stream]:
        """Return the stream of the collective ops."""
        return self.reductions.stream()

    def memory(self) -> ReplicaMemory:
        """Return the training state, and the packs before and after the sum."""
        state = Replica.memory(self)
        return replace(state, buffers=2 * state.gradients)

    def _packs(self, sizes: list[int]) -> list[Bucket]:
        return assign_buckets(sizes, self.plan.bytes_per_pack or None, first_iteration=not self._several())

    def _several(self) -> bool:
        return self.plan.bytes_per_pack > 0

    def _reduce(self, event: str, nbytes: float) -> Iterator[Instruction]:
        yield copy("gradients into a pack", nbytes, nbytes)
        yield Record(event)
        transport = GRPC_RING if self.plan.implementation == "ring" else ""
        collective = Collective(event, CollectiveKind.ALL_REDUCE, GROUP, nbytes, transport)
        self.reductions.run(collective, after=(event,), done=f"{event} reduced")
        self._awaited.append(event)


STRATEGY = Strategy(
    name="multiworker_mirrored",
    system="TensorFlow MultiWorkerMirroredStrategy",
    meaning="mirrored variables over machines; gradients all-reduced in packs by NCCL or a ring of gRPC",
    models=(
        "implementation nccl: all-reduce of each pack by NCCL.",
        "implementation ring: the runtime's own ring over gRPC, 0.2 ms a step and at most 10 Gbps a connection.",
        "bytes_per_pack: gradients in reverse order, a pack summed when its gradients are there; 0 waits for all.",
    ),
    leaves_out=("The choice of AUTO where a collective cannot run on GPUs.",),
    sources=(
        "tensorflow/python/distribute/cross_device_ops.py, collective_util.py; core/common_runtime/ring_reducer.cc",
    ),
)
KIND: Final = Kind(STRATEGY, MultiWorkerMirroredPlan(), MultiWorkerReplica, DP, (), framework=TENSORFLOW)
