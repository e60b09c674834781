"""Controllable memory: one pattern of a micro-batch repeated, on a V of two chunks a device.

Qi et al., "Pipeline Parallelism with Controllable Memory", NeurIPS 2024 (arXiv 2405.15362): a micro-batch passes device
after device at a fixed offset, a pattern that repeats every six passes (F, I and W of two chunks, equally long). What a
device holds is the time from a chunk's forward to its weight gradient over those six, so that offsets set the memory
(section 3). The pattern is repeated, idle time squeezed out, and weight gradients moved to where a device would idle
(section 4.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import permutations, product

from simdml.errors import InfeasibleError
from simdml.strategies.schedules.actions import Action, Phase

PERIOD = 6
Pass = tuple[Phase, int]
"""A phase and a chunk."""


@dataclass(frozen=True)
class BuildingBlock:
    """The passes of micro-batch 0: offsets from device to device of F of both chunks, and of I of chunk 1 and of 0.

    Chunk 0 goes down the V and chunk 1 up, backward the other way round. Micro-batch j is ``PERIOD`` times j later.
    """

    depth: int
    down: int
    up: int
    back_down: int
    back_up: int

    def order(self, device: int, num_microbatches: int) -> list[Action]:
        """Return what ``device`` does, every pass in its slot."""
        slots = self.slots(device)
        passes = (
            (time + PERIOD * j, phase, j, chunk)
            for (phase, chunk), time in slots.items()
            for j in range(num_microbatches)
        )
        return [Action(phase, j, chunk) for _, phase, j, chunk in sorted(passes)]

    def slots(self, device: int) -> dict[Pass, int]:
        """Return when ``device`` begins each pass of micro-batch 0, no two of them in the same slot of a period."""
        times = self._times(device, *self._turns)
        free = [slot for slot in range(PERIOD) if slot not in {time % PERIOD for time in times.values()}]
        first, second = times["I", 1], times["I", 0]
        weights = min(
            ((_next(first, one), _next(second, two)) for one, two in permutations(free)),
            key=lambda pair: pair[0] - first + pair[1] - second,
        )
        return times | {("W", 1): weights[0], ("W", 0): weights[1]}

    def _times(self, device: int, up: int, back_down: int, back_up: int) -> dict[Pass, int]:
        return {
            ("F", 0): self.down * device,
            ("F", 1): up - self.up * device,
            ("I", 1): back_down + self.back_down * device,
            ("I", 0): back_up - self.back_up * device,
        }

    @cached_property
    def _turns(self) -> tuple[int, int, int]:
        """When device 0 begins chunk 1 forward, and chunks 1 and 0 backward, in the pattern that waits least."""
        last = self.depth - 1
        best: tuple[int, tuple[int, int, int]] | None = None
        for waits in product(range(PERIOD), repeat=3):
            up = (self.down + self.up) * last + 1 + waits[0]
            back_down = up + 1 + waits[1]
            turns = (up, back_down, back_down + (self.back_down + self.back_up) * last + 1 + waits[2])
            if (best is None or sum(waits) < best[0]) and self._is_free(turns):
                best = (sum(waits), turns)
        if best is None:
            raise InfeasibleError(f"no pattern of these offsets is free of clashes on {self.depth} devices")
        return best[1]

    def _is_free(self, turns: tuple[int, int, int]) -> bool:
        """Whether no device begins two passes in the same slot."""
        devices = range(min(self.depth, PERIOD))
        return all(len({time % PERIOD for time in self._times(device, *turns).values()}) == 4 for device in devices)


def _next(after: int, slot: int) -> int:
    """Return the first time after ``after`` in ``slot`` of a period."""
    return after + 1 + (slot - after - 1) % PERIOD


@dataclass(slots=True)
class Squeezed:
    """A run of all devices in unit time, in the order of ``block`` without idle time.

    A weight gradient runs where its device would idle, or as soon as more than ``pending`` of them wait.
    """

    block: BuildingBlock
    num_microbatches: int
    pending: int
    _done: dict[tuple[Phase, int, int, int], int] = field(default_factory=dict)

    def orders(self) -> tuple[tuple[Action, ...], ...]:
        """Return what every device does."""
        depth = self.block.depth
        queues = [self._without_weights(device) for device in range(depth)]
        waiting: list[list[Action]] = [[] for _ in range(depth)]
        orders: list[list[Action]] = [[] for _ in range(depth)]
        now = 0
        while any(queues) or any(waiting):
            begun = list(self._begun(queues, waiting, now))
            for device, action in begun:
                orders[device].append(action)
                (waiting if action.phase == "W" else queues)[device].pop(0)
                if action.phase == "I":
                    waiting[device].append(Action("W", action.microbatch, action.chunk))
                self._done[action.phase, action.chunk, device, action.microbatch] = now + 1
            now += 1
        return tuple(map(tuple, orders))

    def _without_weights(self, device: int) -> list[Action]:
        return [action for action in self.block.order(device, self.num_microbatches) if action.phase != "W"]

    def _begun(
        self, queues: Sequence[list[Action]], waiting: Sequence[list[Action]], now: int
    ) -> Iterator[tuple[int, Action]]:
        for device, (queue, weights) in enumerate(zip(queues, waiting, strict=True)):
            if queue and len(weights) <= self.pending and self._is_ready(device, queue[0], now):
                yield device, queue[0]
            elif weights:
                yield device, weights[0]

    def _is_ready(self, device: int, action: Action, now: int) -> bool:
        """Whether what ``action`` needs, of the stage before it on the V or of its own forward, is done."""
        last = self.block.depth - 1
        forward, first = action.phase == "F", action.chunk == 0
        down = first is forward
        if device != (0 if down else last):
            need = (action.phase, action.chunk, device - 1 if down else device + 1)
        elif down:
            if forward:
                return True
            need = ("F", 1, device)
        else:
            need = (action.phase, 0 if forward else 1, device)
        return self._done.get((*need, action.microbatch), now + 1) <= now
