"""Depth-first order over chunks: a round of micro-batches passes chunk 0, then chunk 1, and so on, then the next."""

from __future__ import annotations

from dataclasses import dataclass

from simdml.strategies.schedules.actions import Action, Phase


@dataclass(frozen=True, slots=True)
class Rounds:
    """``num_microbatches`` in rounds of ``each`` through ``chunks`` chunks."""

    num_microbatches: int
    each: int
    chunks: int

    @property
    def total(self) -> int:
        """Chunk forwards (or backwards) of one device in a step."""
        return self.num_microbatches * self.chunks

    def forwards(self) -> list[Action]:
        """Return the forwards in order."""
        return [Action("F", *self._unit(number)) for number in range(self.total)]

    def backwards(self, phase: Phase) -> list[Action]:
        """Return the backwards, or that half of them, in order: chunks in reverse."""
        units = (self._unit(number) for number in range(self.total))
        return [Action(phase, microbatch, self.chunks - 1 - chunk) for microbatch, chunk in units]

    def _unit(self, number: int) -> tuple[int, int]:
        group, within = divmod(number, self.each * self.chunks)
        chunk, position = divmod(within, self.each)
        return group * self.each + position, chunk
