"""A model replica over several GPUs, stage after stage, as DistBelief's: one part of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from simdml.program.instructions import Instruction, Record, Recv, Send, Wait
from simdml.program.program import Stream

AXIS: Final = "pp"


@dataclass(frozen=True, slots=True)
class ReplicaPart:
    """Stage ``stage`` of ``stages``; it is sent ``input_bytes`` and sends ``output_bytes`` for a micro-batch.

    Stages work one after another: a part waits for its input, and again for its output's gradient (Dean et al., NIPS
    2012, section 3: only what crosses machines is sent). ``batch`` is what the first part does to get its data.
    """

    stage: int = 0
    stages: int = 1
    input_bytes: float = 0.0
    output_bytes: float = 0.0
    batch: tuple[Instruction, ...] = ()

    @property
    def _first(self) -> bool:
        return self.stage == 0

    @property
    def _last(self) -> bool:
        return self.stage == self.stages - 1

    def before_forward(self) -> Iterator[Instruction]:
        """Yield the wait for the input."""
        if self._first:
            yield from self.batch
        else:
            yield Recv("forward", AXIS, -1, f"forward into stage {self.stage}")

    def before_backward(self) -> Iterator[Instruction]:
        """Yield the dispatch of the output and the wait for its gradient."""
        if not self._last:
            yield Record("output")
            yield Recv("backward", AXIS, +1, f"backward into stage {self.stage}")

    def after_backward(self) -> Iterator[Instruction]:
        """Yield the dispatch of the input's gradient."""
        if not self._first:
            yield Record("input gradient")

    def streams(self, num_microbatches: int) -> Iterator[Stream]:
        """Yield the streams that send what was dispatched."""
        if not self._last:
            send = Send("forward", AXIS, +1, self.output_bytes, f"forward into stage {self.stage + 1}")
            yield Stream("send forward", (Wait("output"), send) * num_microbatches)
        if not self._first:
            send = Send("backward", AXIS, -1, self.input_bytes, f"backward into stage {self.stage - 1}")
            yield Stream("send backward", (Wait("input gradient"), send) * num_microbatches)


WHOLE_MODEL: Final = ReplicaPart()
