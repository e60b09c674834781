"""Who starts now: first come first served, by priority, and backfilling.

Backfilling (Lifka, JSSPP 1995; Mu'alem and Feitelson, IEEE TPDS 12(6), 2001): a job may pass others if it delays, by
what users estimate, not the first that waits (EASY), or none of those before it (conservative).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from simdml.studies.fleet.arriving import QueuedJob
from simdml.studies.fleet.packing import Free, Placement, Taken, give_back, place, take

PolicyName = Literal["fifo", "priority", "easy_backfill", "conservative_backfill"]
Start = tuple[QueuedJob, Taken]


@dataclass(frozen=True, slots=True)
class Running:
    """A job that runs: what it has taken, and when it ends by its user's estimate."""

    taken: Taken
    estimated_end_s: float


@dataclass(frozen=True, slots=True)
class Moment:
    """What a policy sees: who waits, in order, who runs, and what is free."""

    now_s: float
    waiting: Sequence[QueuedJob]
    running: Sequence[Running]
    free: Free
    node_gpus: int
    placement: Placement

    def place(self, free: Free, job: QueuedJob) -> Taken | None:
        """Return where ``job`` fits into ``free``."""
        return place(free, job.gpus, self.node_gpus, self.placement)


Policy = Callable[[Moment], Iterator[Start]]


def in_order(moment: Moment) -> Iterator[Start]:
    """Start jobs in order until one does not fit."""
    free = moment.free.copy()
    for job in moment.waiting:
        taken = moment.place(free, job)
        if taken is None:
            return
        take(free, taken)
        yield job, taken


def easy(moment: Moment) -> Iterator[Start]:
    """Start jobs in order; behind the first that does not fit, those that do not delay it."""
    free, running = moment.free.copy(), list(moment.running)
    started = 0
    for job, taken in in_order(moment):
        take(free, taken)
        running.append(Running(taken, moment.now_s + job.estimate_s))
        started += 1
        yield job, taken
    if started == len(moment.waiting):
        return
    first = moment.waiting[started]
    if not free.any():
        return
    reserved_s, then = _reservation(moment, first, free, running)
    unfit: set[int] = set()
    for job in moment.waiting[started + 1 :]:
        candidate = None if job.gpus in unfit else moment.place(free, job)
        if candidate is None:
            unfit.add(job.gpus)
            continue
        if moment.now_s + job.estimate_s > reserved_s:
            take(then, candidate)
            if (then < 0).any() or moment.place(then, first) is None:
                give_back(then, candidate)
                continue
        take(free, candidate)
        yield job, candidate


def _reservation(moment: Moment, first: QueuedJob, free: Free, running: Sequence[Running]) -> tuple[float, Free]:
    """Return when ``first`` can start if all that runs ends as estimated, and what is free then."""
    then = free.copy()
    by_end = groupby(sorted(running, key=_estimated_end), key=_estimated_end)
    for end_s, ending in by_end:
        for each in ending:
            give_back(then, each.taken)
        if moment.place(then, first) is not None:
            return end_s, then
    raise AssertionError(f"job {first.number} fits into no cluster of {len(free)} nodes")


def _estimated_end(running: Running) -> float:
    return running.estimated_end_s


def conservative(moment: Moment) -> Iterator[Start]:
    """Give every job, in order, the earliest place that delays none before it; start those whose time is now."""
    profile = _Profile(moment)
    for job in moment.waiting:
        if not profile.free[0].any():
            return
        start_s, taken = profile.reserve(job)
        if start_s <= moment.now_s:
            yield job, taken


class _Profile:
    """What is free from each of a row of times on, until the next: ``free`` has a row a time, ``rows`` of them."""

    def __init__(self, moment: Moment) -> None:
        self.moment = moment
        ends: dict[float, list[Taken]] = {}
        for each in moment.running:
            ends.setdefault(max(each.estimated_end_s, moment.now_s), []).append(each.taken)
        self.times = [moment.now_s]
        self.free = np.empty((len(ends) + len(moment.waiting) + 2, len(moment.free)), dtype=np.int64)
        self.free[0] = moment.free
        for end_s in sorted(ends):
            row = self._split(end_s)
            for taken in ends[end_s]:
                give_back(self.free[row], taken)

    def reserve(self, job: QueuedJob) -> tuple[float, Taken]:
        """Take the earliest place for ``job`` as long as its estimate; return when, and where."""
        for row in self._where_some_fit(job).tolist():
            start_s = self.times[row]
            last = bisect_left(self.times, start_s + job.estimate_s)
            taken = self.moment.place(self.free[row : max(last, row + 1)].min(axis=0), job)
            if taken is not None:
                last = self._split(start_s + job.estimate_s)
                for node, gpus in taken:
                    self.free[row:last, node] -= gpus
                return start_s, taken
        raise AssertionError(f"job {job.number} fits into no cluster of {self.free.shape[1]} nodes")

    def _where_some_fit(self, job: QueuedJob) -> NDArray[np.int64]:
        """Return rows in which the whole nodes that ``job`` needs are empty, or one has room for it."""
        free, node_gpus = self.free[: len(self.times)], self.moment.node_gpus
        if job.gpus < node_gpus:
            return np.flatnonzero(free.max(axis=1) >= job.gpus)
        return np.flatnonzero(np.count_nonzero(free == node_gpus, axis=1) >= job.gpus // node_gpus)

    def _split(self, time_s: float) -> int:
        """Return the row that begins at ``time_s``, a new one if there is none."""
        row, rows = bisect_left(self.times, time_s), len(self.times)
        if row == rows or self.times[row] != time_s:
            self.times.insert(row, time_s)
            self.free[row + 1 : rows + 1] = self.free[row:rows]
            self.free[row] = self.free[row - 1]
        return row


POLICIES: Final[Mapping[PolicyName, Policy]] = {
    "fifo": in_order,
    "priority": in_order,
    "easy_backfill": easy,
    "conservative_backfill": conservative,
}


def order(policy: PolicyName) -> Callable[[QueuedJob], tuple[int, float, int]]:
    """Return what waiting jobs are sorted by; first come, first served knows no priorities."""
    if policy == "fifo":
        return lambda job: (0, job.submit_s, job.number)
    return lambda job: (-job.priority, job.submit_s, job.number)
