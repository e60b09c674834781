"""How batches come to a rank: read, decoded and copied to the device while earlier ones are trained.

PyTorch's DataLoader (torch/utils/data/dataloader.py): workers keep up to ``prefetch_factor`` batches each under way,
and whenever one is taken the next is begun, so that ``prefetch`` batches at most are under way or wait. A batch is a
micro-batch, read by every rank that holds the first layers (of tensor-parallel ranks each reads all of it, as in
torchtitan); labels of a pipeline's last stage are not.

Stages run one after another for a batch and side by side for several. The last one, to the device, is on the compute
stream, as ``tensor.to(device)`` is with or without ``non_blocking``; or on a stream of its own, for the batch after the
one that is being trained (apex's and DALI's prefetchers), which needs pinned memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from simdml.program.instructions import INPUT, HostCopy, Instruction, Load, Record, Wait
from simdml.program.program import Program, RankProgram, Stream

TAKEN: Final = "batch taken"
LOADED: Final = "batch loaded"
ON_DEVICE: Final = "batch on device"
BEGUN: Final = "batch begun"
COPY: Final = "copy batch"


@dataclass(frozen=True, slots=True)
class InputPlan:
    """What brings a batch of ``stored_bytes`` (as stored) and ``copied_bytes`` (as copied to a device) to a rank.

    ``stages`` are those that take time. ``prefetch`` batches are under way at once, 0 where the training process loads
    them itself, when it needs them. ``copies_ahead`` gives copies to the device a stream of their own.
    """

    stored_bytes: float
    copied_bytes: float
    stages: tuple[Literal["storage", "decode"], ...]
    prefetch: int
    copies_ahead: bool = False

    def scaled(self, factor: float) -> InputPlan:
        """Return the plan of batches ``factor`` times as large."""
        return replace(self, stored_bytes=self.stored_bytes * factor, copied_bytes=self.copied_bytes * factor)

    def take(self) -> Iterator[Instruction]:
        """Yield what the compute stream does before it trains the next batch."""
        if self.copies_ahead:
            yield from (Wait(ON_DEVICE), Record(BEGUN))
            return
        if self.prefetch == 0:
            yield Record(TAKEN)
        if self.stages:
            yield Wait(LOADED)
        if self.prefetch:
            yield Record(TAKEN)
        yield self._copy()

    def streams(self, batches: int, beforehand: int) -> Iterator[Stream]:
        """Yield the streams beside a compute stream that takes so many batches a step, and so many before the first."""
        before = Wait(TAKEN, lag=self.prefetch)
        for number, stage in enumerate(self.stages):
            done = LOADED if number == len(self.stages) - 1 else f"batch through {stage}"
            each = (before, Load("batch", stage, self.stored_bytes), Record(done))
            yield Stream(f"load, {stage}", each * batches, each * beforehand)
            before = Wait(done)
        if self.copies_ahead:
            loaded = (Wait(LOADED), Record(TAKEN)) if self.stages else ()
            each_copy = (Wait(BEGUN, lag=1), *loaded, self._copy(), Record(ON_DEVICE))
            yield Stream(COPY, each_copy * batches, each_copy * beforehand)

    def taken(self, stream: Stream) -> int:
        """Return how many batches ``stream`` takes."""
        mark = Wait(ON_DEVICE) if self.copies_ahead else self._copy()
        return sum(times for instruction, times in stream.counts if instruction == mark)

    def _copy(self) -> HostCopy:
        return HostCopy("batch", self.copied_bytes, to_host=False, account=INPUT)


def with_input(program: Program, plan: InputPlan) -> Program:
    """Return ``program``, whose compute streams take batches, with the streams that bring them."""
    return replace(program, classes=tuple(_fed(each, plan) for each in program.classes))


def _fed(rank_program: RankProgram, plan: InputPlan) -> RankProgram:
    compute = rank_program.streams[0]
    batches, beforehand = plan.taken(compute), plan.taken(compute.once)
    if not batches:
        return rank_program
    return replace(rank_program, streams=(*rank_program.streams, *plan.streams(batches, beforehand)))
