"""Best first: the candidate with the smallest bound is next, until no bound is below the best result.

A candidate's bound is that of its blocks at first; when its turn comes it is sharpened by its own program and put
back, and simulated when its turn comes again (Land and Doig, "An Automatic Method of Solving Discrete Programming
Problems", Econometrica 28(3), 1960; with the bounds computed lazily). With several workers the next candidates are
begun before the first is done; each of them has, when it is begun, a bound below the best result, so the answer is the
same and a few more are simulated.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Final

from simdml.studies.plan.blocks import Habits
from simdml.studies.plan.candidate import (
    BOUNDED,
    LEAST,
    PASSING,
    PROGRAM,
    SIMULATION,
    Candidate,
    evaluate,
    pass_through,
    sharpen,
    step_s,
)
from simdml.studies.plan.front import Staircase
from simdml.studies.plan.goal import Goal, Rank
from simdml.studies.sweep.outcome import DIED, Outcome
from simdml.studies.sweep.workers import Start, Workers, local_processes, starting_processes

SITE_GAP: Final = 0.01
"""How much better, as a share, an unsimulated layout of a site may be that is not the best site."""


@dataclass(frozen=True, slots=True)
class Found:
    """A candidate that was simulated, or cannot be: its outcome, and its place if it has numbers."""

    candidate: Candidate
    outcome: Outcome
    rank: Rank | None


@dataclass(slots=True)
class Search:
    """Candidates in the order of their bounds, what was found of them, and the best.

    ``gap`` is how much better, as a share, what is left may be in the end. With ``fronts`` the search goes on until
    nothing left could be on the front of time against cost either, with ``each_site`` until no site's own best could be
    better by more than ``SITE_GAP``.
    """

    goal: Goal
    habits: Habits
    gap: float = 0.0
    fronts: bool = False
    each_site: bool = False
    known: Mapping[int, Outcome] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)
    best: Found | None = None
    site_best: dict[int, Rank] = field(default_factory=dict)
    sharpened: int = 0
    stairs: Staircase = field(default_factory=Staircase)
    _heap: list[tuple[Rank, int, Candidate]] = field(default_factory=list)
    _covered: int = 0
    _least_covered: list[Rank] = field(default_factory=list)
    _pending: dict[Future[Outcome], Candidate] = field(default_factory=dict)

    def add(self, candidates: Iterable[Candidate]) -> None:
        """Add candidates."""
        self._heap += [self._entry(candidate) for candidate in candidates]
        heapq.heapify(self._heap)

    def run(self, start: Start) -> Iterator[Found]:
        """Yield what is found on the workers that ``start`` gives, until nothing better is left."""
        while self._top() is not None or self._pending:
            try:
                with start() as workers:
                    yield from self._drain(workers)
            except BrokenExecutor:
                suspects, self._pending = list(self._pending.values()), {}
                for candidate in suspects:
                    yield from self._done(candidate, _alone(candidate, self.habits))

    @property
    def least_left(self) -> Rank | None:
        """The smallest bound of what was not simulated, None if everything was."""
        return min([rank for rank, _, _ in self._heap] + self._least_covered, default=None)

    @property
    def num_left(self) -> int:
        """Candidates that were not simulated."""
        return len(self._heap) + self._covered

    def _drain(self, workers: Workers) -> Iterator[Found]:
        while True:
            with starting_processes():
                while len(self._pending) < workers.in_flight and (candidate := self._take()) is not None:
                    if candidate.number in self.known and candidate.level == SIMULATION:
                        yield from self._done(candidate, self.known[candidate.number])
                        continue
                    self._pending[self._submit(workers, candidate)] = candidate
            if not self._pending:
                return
            done, _ = wait(self._pending, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda future: self._pending[future].number):
                outcome = _outcome(future)
                yield from self._done(self._pending.pop(future), outcome)

    def _submit(self, workers: Workers, candidate: Candidate) -> Future[Outcome]:
        call, arguments = _call(candidate, self.habits)
        return workers.executor.submit(call, *arguments)

    def _take(self) -> Candidate | None:
        if self._top() is None:
            return None
        return heapq.heappop(self._heap)[2]

    def _top(self) -> Candidate | None:
        """Return the next candidate that may be better, those that cannot put aside for good."""
        if not self._heap:
            return None
        if not (self.fronts or self.each_site):
            return self._heap[0][2] if self._may_lead(self._heap[0][0]) else None
        while self._heap:
            rank, _, candidate = self._heap[0]
            if self._may_lead(rank) or self._may_lead_its_site(rank, candidate) or self._may_extend_front(candidate):
                return candidate
            heapq.heappop(self._heap)
            self._covered += 1
            self._least_covered = [min([rank, *self._least_covered])]
        return None

    def _may_lead(self, rank: Rank) -> bool:
        """Whether what has this bound may be better than the best."""
        if self.best is None or self.best.rank is None:
            return True
        missed, objective, _ = self.best.rank
        return rank[:2] < (missed, objective * (1 - self.gap))

    def _may_lead_its_site(self, rank: Rank, candidate: Candidate) -> bool:
        if not self.each_site:
            return False
        missed, objective, _ = self.site_best.get(candidate.site.number, (inf, inf, inf))
        return rank[:2] < (missed, objective * (1 - max(self.gap, SITE_GAP)))

    def _may_extend_front(self, candidate: Candidate) -> bool:
        if not self.fronts:
            return False
        sums = self.goal.sums(candidate.site, candidate.least_s, candidate.site.least_power_w)
        return not self.stairs.covers(sums.seconds, sums.usd or 0.0)

    def _done(self, candidate: Candidate, outcome: Outcome) -> Iterator[Found]:
        if outcome.status == BOUNDED:
            least_s = max(candidate.least_s, outcome.numbers[LEAST] or 0.0)
            self.sharpened += candidate.level == PROGRAM
            heapq.heappush(self._heap, self._entry(replace(candidate, least_s=least_s, level=candidate.level + 1)))
            return
        found = Found(candidate, outcome, self._rank(candidate, outcome))
        self.found.append(found)
        if found.rank is not None:
            sums = self.goal.sums(candidate.site, step_s(candidate.site, outcome), outcome.numbers.get("power_w"))
            self.stairs.add(sums.seconds, sums.usd or 0.0)
            number = candidate.site.number
            self.site_best[number] = min(found.rank, self.site_best.get(number, found.rank))
            if self.best is None or (found.rank, candidate.number) < (
                self.best.rank or found.rank,
                self._best_number(),
            ):
                self.best = found
        yield found

    def _best_number(self) -> int:
        assert self.best is not None
        return self.best.candidate.number

    def _rank(self, candidate: Candidate, outcome: Outcome) -> Rank | None:
        if not outcome.ok:
            return None
        return self.goal.rank(candidate.site, step_s(candidate.site, outcome), outcome.numbers.get("power_w"))

    def _entry(self, candidate: Candidate) -> tuple[Rank, int, Candidate]:
        rank = self.goal.rank(candidate.site, candidate.least_s, candidate.site.least_power_w)
        return rank, candidate.number, candidate


def _outcome(future: Future[Outcome]) -> Outcome:
    try:
        return future.result()
    except BrokenExecutor:
        raise
    except Exception as error:
        return Outcome(DIED, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _call(candidate: Candidate, habits: Habits) -> tuple[Callable[..., Outcome], tuple[Any, ...]]:
    if candidate.level == SIMULATION:
        return evaluate, (candidate.site, candidate.choice)
    return (pass_through if candidate.level == PASSING else sharpen), (candidate.site, candidate.choice, habits)


def _alone(candidate: Candidate, habits: Habits) -> Outcome:
    call, arguments = _call(candidate, habits)
    try:
        with local_processes(1) as workers, starting_processes():
            return workers.executor.submit(call, *arguments).result()
    except BrokenExecutor:
        return Outcome(DIED, "the process that simulated it ended, probably for lack of memory")
