"""What a schedule says of its devices, worked out once: what they have in flight, and whether it is possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from simdml.errors import InfeasibleError
from simdml.strategies.schedules import Action, Schedule, find_schedule
from simdml.strategies.schedules.placement import Placement

_KEPT = 8192
Peak = tuple[int, ...]
Stages = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """What matters of a schedule with given numbers.

    ``in_flight`` has, for the first two devices and the last, the stages of its chunks, and for each moment at which it
    holds most, the micro-batches it holds of each. ``split`` says whether backward is run in halves, ``paired`` whether
    beside a forward. ``device_of_stage`` and the ``first_stages`` of devices are those of its only path.
    """

    placement: Placement
    in_flight: tuple[tuple[Stages, tuple[Peak, ...]], ...]
    split: bool
    paired: bool
    device_of_stage: Stages
    first_stages: Stages

    @property
    def paths(self) -> int:
        """Copies of the model that micro-batches are dealt to."""
        return len(self.placement.paths)


@lru_cache(maxsize=_KEPT)
def order_of(schedule: str, depth: int, num_microbatches: int, chunks: int) -> Order | None:
    """Return what matters of ``schedule``, None if it cannot be had with these numbers."""
    found, placement = find_schedule(schedule), placement_of(schedule, depth, chunks)
    by_device = _stages(placement, depth)
    in_flight = []
    actions: list[Action] = []
    for device in sorted({0, 1, depth - 1}):
        try:
            actions = found.order(device, depth, num_microbatches, chunks)
        except InfeasibleError:
            return None
        stages = by_device[device]
        in_flight.append((np.array(stages), _peaks(actions, len(stages))))
    return Order(
        placement,
        tuple(in_flight),
        split=any(action.phase == "I" for action in actions),
        paired=any(action.with_next for action in actions),
        device_of_stage=np.array([device for device, _ in placement.paths[0]]),
        first_stages=np.array([min(stages) for stages in by_device]),
    )


@lru_cache(maxsize=_KEPT)
def placement_of(schedule: str, depth: int, chunks: int) -> Placement:
    """Return where the stages of ``schedule`` live."""
    return find_schedule(schedule).placement(depth, chunks)


def waits_for_sends(schedule: str, overlap_p2p: bool | None) -> bool:
    """Return whether a stage waits until what it sent has arrived; by default as the schedule does."""
    found: Schedule = find_schedule(schedule)
    return found.waits_for_sends if overlap_p2p is None else not overlap_p2p


def _stages(placement: Placement, depth: int) -> list[list[int]]:
    stages: list[list[int]] = [[] for _ in range(depth)]
    for (device, _), (_, stage) in sorted(placement.stages.items()):
        stages[device].append(stage)
    return stages


def _peaks(actions: Sequence[Action], chunks: int) -> tuple[Peak, ...]:
    """Return the micro-batches of every chunk that are alive when there are most, none that others cover."""
    alive, growing = [0] * chunks, False
    peaks: set[Peak] = set()
    for action in actions:
        if action.phase == "F":
            alive[action.chunk] += 1
            growing = True
        elif action.phase in "BW":
            if growing:
                peaks.add(tuple(alive))
            growing = False
            alive[action.chunk] -= 1
    return tuple(sorted(peak for peak in peaks if not any(_covers(other, peak) for other in peaks - {peak})))


def _covers(larger: Peak, smaller: Peak) -> bool:
    return all(one >= other for one, other in zip(larger, smaller, strict=True))
