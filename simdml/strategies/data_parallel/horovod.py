"""Horovod: all-reduces of fused gradients, launched by a background thread.

The sources are horovod/common/operations.cc, controller.cc, fusion_buffer_manager.cc, and Sergeev and Del Balso,
"Horovod" (arXiv 1802.05799).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from simdml.costs.compute import ConstantCost
from simdml.program.instructions import Collective, CollectiveKind, Instruction, Record, Wait
from simdml.program.program import Stream
from simdml.strategies.data_parallel.buckets import Bucket
from simdml.strategies.data_parallel.fusion import KernelClock, fuse, submissions
from simdml.strategies.data_parallel.gathering import copy
from simdml.strategies.data_parallel.kind import DP, PYTORCH, Kind
from simdml.strategies.data_parallel.replica import CommunicationStream, Replica, ReplicaMemory
from simdml.strategies.stage_code import Backward
from simdml.strategies.strategy import Strategy

GROUP: Final = "dp"
UNKNOWN: Final = KernelClock(ConstantCost(0.0), "fp32", 0.0)
"""A clock by which everything is submitted and computed at once."""


@dataclass(frozen=True, slots=True)
class HorovodPlan:
    """HOROVOD_CYCLE_TIME and HOROVOD_FUSION_THRESHOLD, and hvd.Compression.

    ``clock`` says when gradients come, which decides what is fused; it is the job's, not an option.
    """

    cycle_time_s: float = 1e-3
    fusion_threshold_bytes: int = 128 * 1024 * 1024
    compression: Literal["none", "fp16"] = "none"
    clock: KernelClock = field(default=UNKNOWN, repr=False, metadata={"option": False})

    @property
    def kind(self) -> str:
        """The strategy's name."""
        return "horovod"

    def timed(self, clock: KernelClock) -> HorovodPlan:
        """Return the plan of a job with this clock."""
        return replace(self, clock=clock)


@dataclass(slots=True)
class HorovodReplica(Replica):
    """A rank whose last backward submits gradients; the optimizer waits for all of them (synchronize)."""

    plan: HorovodPlan
    reductions: CommunicationStream = field(default_factory=lambda: CommunicationStream("fused gradients"))
    _awaited: list[str] = field(default_factory=list)

    def backward(self, chunk: int, *, last: bool, half: Backward = Backward.WHOLE) -> Iterator[Instruction]:
        """Yield a backward; the last one reduces."""
        del half
        if not last:
            yield self.code[chunk].backward()
            return
        messages, launched, compressed = self.messages(chunk), 0, 0
        sizes = [count * self.job.training.gradient_bytes for count in self.code[chunk].gradients()]

        def gradient_ready(count: int) -> Iterator[Instruction]:
            nonlocal launched, compressed
            if self._halves() and count > compressed:
                whole = float(sum(sizes[compressed:count]))
                yield copy("compressed gradients", whole, whole * self._share())
                compressed = count
            while launched < len(messages) and messages[launched].parameters[-1] < count:
                event = f"message {launched}"
                yield Record(event)
                self._reduce(event, messages[launched])
                launched += 1

        yield from self.code[chunk].backward_by_layer(gradient_ready)

    def messages(self, chunk: int) -> list[Bucket]:
        """Return what is reduced together."""
        training = self.job.training
        sent = int(training.gradient_bytes * self._share())
        found = submissions(self.code[chunk], sent, training.num_microbatches, self.plan.clock)
        return fuse(found, self.plan.cycle_time_s, self.plan.fusion_threshold_bytes)

    def finish(self) -> Iterator[Instruction]:
        """Yield the wait for all messages, and the way back from half precision."""
        for event in self._awaited:
            yield Wait(f"{event} reduced")
        if self._halves():
            whole = float(self.elements * self.job.training.gradient_bytes)
            yield copy("decompressed gradients", whole * self._share(), whole)

    def streams(self) -> Iterable[Stream]:
        """Return the stream of the background thread's messages."""
        return self.reductions.stream()

    def memory(self) -> ReplicaMemory:
        """Return the training state and the fusion buffer, which is as large as the threshold."""
        state = Replica.memory(self)
        return replace(state, buffers=float(self.plan.fusion_threshold_bytes))

    def _halves(self) -> bool:
        return self.plan.compression == "fp16" and self.job.training.gradient_bytes > 2

    def _share(self) -> float:
        return 0.5 if self._halves() else 1.0

    def _reduce(self, event: str, message: Bucket) -> None:
        """Issue a message, with copies into and out of the fusion buffer if it holds several gradients."""
        nbytes = float(message.payload_bytes)
        copies = [copy("fusion buffer", nbytes, nbytes)] if len(message.parameters) > 1 else []
        collective = Collective(event, CollectiveKind.ALL_REDUCE, GROUP, nbytes)
        self.reductions.instructions += [Wait(event), *copies, collective, *copies, Record(f"{event} reduced")]
        self._awaited.append(event)


STRATEGY = Strategy(
    name="horovod",
    system="Horovod with NCCL",
    meaning="gradients fused by a background thread every cycle, and all-reduced",
    models=(
        "A cycle of 1 ms: what the host has submitted by then is fused in that order up to 128 MiB.",
        "The thread waits on the host until a message's gradients are computed before it launches the message, while "
        "backward goes on and more is submitted.",
        "Copies into and out of the fusion buffer; fp16 compression.",
        "Fusion is decided beforehand, from what kernels and launches take on a machine by itself.",
    ),
    leaves_out=(
        "The wait for the next cycle when the host is not ahead, at most one; the coordinator's negotiation.",
        "Hierarchical all-reduce, Adasum, elastic jobs.",
    ),
    sources=(
        "horovod/horovod, horovod/common/operations.cc, controller.cc, fusion_buffer_manager.cc",
        "Sergeev and Del Balso, Horovod, arXiv 1802.05799",
    ),
)
KIND: Final = Kind(STRATEGY, HorovodPlan(), HorovodReplica, DP, (), framework=PYTORCH)
