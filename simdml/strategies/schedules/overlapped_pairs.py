"""The order that DualPipe and DualPipeV share: forward of one chunk overlapped with backward of the other.

Written after the eight steps of deepseek-ai/DualPipe (dualpipe/dualpipe.py and dualpipev.py, ``step``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from simdml.strategies.schedules.actions import Action, Phase


@dataclass(slots=True)
class OverlappedPairs:
    """Actions of a device ``position`` steps from the end of ``depth`` devices at which its chunk 0 starts.

    Every chunk runs ``microbatches`` micro-batches, at least ``2 * depth``.
    """

    position: int
    depth: int
    microbatches: int
    _next: dict[tuple[Phase, int], int] = field(default_factory=dict)
    _pending: list[tuple[int, int]] = field(default_factory=list)

    def actions(self) -> Iterator[Action]:
        """Yield the eight steps."""
        nearer, farther = self.position + 1, self.depth - self.position - 1
        for _ in range(2 * farther):
            yield self._run("F", 0)
        for _ in range(nearer):
            yield from (self._run("F", 0), self._run("F", 1))
        for _ in range(farther):
            yield from (self._run("I", 1), *self._weight(), self._run("F", 1))
        yield from self._main(self.microbatches - 2 * self.depth + nearer)
        for _ in range(farther):
            yield from (self._run("B", 1), *self._pair(1, 0))
        yield from self._turn(nearer)
        for _ in range(farther):
            yield from (*self._weight(), self._run("I", 0))
        for _ in range(nearer):
            yield from self._weight()

    def _main(self, rounds: int) -> Iterator[Action]:
        for number in range(rounds):
            if number == 0 and self.position == self.depth - 1:
                yield from (self._run("F", 0), self._run("B", 1))
            else:
                yield from self._pair(0, 1)
            yield from self._pair(1, 0)

    def _turn(self, rounds: int) -> Iterator[Action]:
        """Yield whole backwards, whose second half leaves weight gradients for later."""
        split = rounds // 2 * 2 + (self.position + 1) % 2
        for number in range(2 * rounds):
            yield self._run("I" if number >= split else "B", 1 - number % 2)

    def _pair(self, forward: int, backward: int) -> Iterator[Action]:
        yield self._run("F", forward, with_next=True)
        yield self._run("B", backward)

    def _run(self, phase: Phase, chunk: int, *, with_next: bool = False) -> Action:
        key: tuple[Phase, int] = ("F" if phase == "F" else "B", chunk)
        microbatch = self._next.get(key, 0)
        self._next[key] = microbatch + 1
        if phase == "I":
            self._pending.append((microbatch, chunk))
        return Action(phase, microbatch, chunk, with_next)

    def _weight(self) -> Iterator[Action]:
        if self._pending:
            yield Action("W", *self._pending.pop(0))
