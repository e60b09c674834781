"""The rules of :mod:`simdml.program.servers` at work: what a push does to a key, and who may read it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple, Protocol

from simdml.engine.track import Blame
from simdml.program.servers import Backup, Bulk, Consistency, Stale


class Effect(NamedTuple):
    """What a push makes the shard do, as multiples of its costs; ``completes`` says that a new version is ready."""

    copies: int = 0
    sums: int = 0
    updates: int = 0
    applies: int = 0
    completes: bool = False


DROPPED: Final = Effect()
APPLIED: Final = Effect(applies=1, completes=True)
COPIED: Final = Effect(copies=1)
SUMMED: Final = Effect(sums=1)
COMPLETED: Final = Effect(sums=1, updates=1, completes=True)
ALONE: Final = Effect(copies=1, updates=1, completes=True)


class Release(Enum):
    """Whose pulls a push may release: nobody's, its own worker's, all of the key, or those of every key."""

    NOBODY = "nobody"
    ITS_WORKER = "its worker"
    THE_KEY = "the key"
    EVERYBODY = "everybody"


NOBODY, ITS_WORKER = Release.NOBODY, Release.ITS_WORKER
THE_KEY, EVERYBODY = Release.THE_KEY, Release.EVERYBODY
"""The same; Python 3.11 takes ten times as long to find them in their class, and every push asks."""


class Request(NamedTuple):
    """A pull held back: the pushes of its worker it wants to see, who asked when, and what to do with the answer."""

    wanted: int
    worker: int
    asked: float
    answer: Callable[[Blame | None], None]


@dataclass(slots=True)
class KeyState:
    """One key: versions in the making by push number, versions published, and who waits.

    ``thread`` serves it, any thread if None. ``sent`` counts each worker's pushes, ``applied`` those that are part of
    the key; ``slowest`` is the least of the latter. ``seen`` are the versions each worker's pulls got.
    """

    thread: int | None = None
    making: dict[int, int] = field(default_factory=dict)
    version: int = 0
    sent: dict[int, int] = field(default_factory=dict)
    applied: dict[int, int] = field(default_factory=dict)
    slowest: int = 0
    seen: dict[int, list[int]] = field(default_factory=dict)
    waiting: dict[int, Request] = field(default_factory=dict)


class Rule(Protocol):
    """When pushes are part of a key, and who may read it."""

    def arrive(self, state: KeyState, worker: int, number: int) -> Effect:
        """Push ``number`` (from 0) of ``worker`` has arrived: say what it does."""
        ...

    def done(self, state: KeyState, worker: int, effect: Effect) -> Release:
        """The shard has done ``effect`` for a push of ``worker``: say whose pulls to look at."""
        ...

    def readable(self, state: KeyState, worker: int, wanted: int) -> bool:
        """Whether ``worker``, ``wanted`` pushes of whose own are sent, may have the key."""
        ...

    def origin(self, state: KeyState, worker: int) -> int:
        """Return what the rule compares numbers of the worker's pushes and pulls with: only differences count."""
        ...

    def relative(self, state: KeyState) -> Hashable:
        """Return what of the key's state decides about the future, the same whenever the future is."""
        ...


def _relative(making: dict[int, int], origin: int) -> Hashable:
    """Return versions in the making by their numbers after ``origin``."""
    return tuple(sorted((number - origin, summed) for number, summed in making.items()))


def _sum(state: KeyState, number: int, needed: int) -> Effect:
    """Add one push to version ``number`` in the making, which takes ``needed``."""
    summed = state.making.get(number, 0) + 1
    if summed < needed:
        state.making[number] = summed
        return COPIED if summed == 1 else SUMMED
    state.making.pop(number, None)
    return ALONE if summed == 1 else COMPLETED


class BulkRule:
    """Every version is made of a push of every worker."""

    def __init__(self, consistency: Bulk) -> None:
        self.workers = consistency.workers

    def arrive(self, state: KeyState, worker: int, number: int) -> Effect:
        """Sum; the last push of a version completes it."""
        del worker
        return _sum(state, number, self.workers)

    def done(self, state: KeyState, worker: int, effect: Effect) -> Release:
        """Publish a complete version."""
        del worker
        state.version += effect.completes
        return THE_KEY if effect.completes else NOBODY

    def readable(self, state: KeyState, worker: int, wanted: int) -> bool:
        """When the version made of the worker's latest push is there."""
        del worker
        return state.version >= wanted

    def origin(self, state: KeyState, worker: int) -> int:
        """Return the version published."""
        del worker
        return state.version

    def relative(self, state: KeyState) -> Hashable:
        """Return the versions in the making."""
        return _relative(state.making, state.version)


class StaleRule:
    """Pushes are applied at once; a reader waits for its own, and for the slowest worker as far as the bound says."""

    def __init__(self, consistency: Stale) -> None:
        self.workers = consistency.workers
        self.bound = consistency.bound

    def arrive(self, state: KeyState, worker: int, number: int) -> Effect:
        """Apply, or with bound 0 sum until every worker's push is there."""
        del worker
        return APPLIED if self.bound != 0 else _sum(state, number, self.workers)

    def done(self, state: KeyState, worker: int, effect: Effect) -> Release:
        """Count the push, and find the slowest worker again if it was that worker's."""
        state.version += effect.completes
        before = state.applied.get(worker, 0)
        state.applied[worker] = before + 1
        if self.bound is not None and before == state.slowest and len(state.applied) == self.workers:
            slowest, state.slowest = state.slowest, min(state.applied.values())
            if state.slowest > slowest:
                return THE_KEY
        return ITS_WORKER

    def readable(self, state: KeyState, worker: int, wanted: int) -> bool:
        """When all it sent, and everybody's pushes of ``bound`` steps before, are part of the key."""
        if state.applied.get(worker, 0) < state.sent.get(worker, 0):
            return False
        return self.bound is None or state.slowest >= wanted - self.bound

    def origin(self, state: KeyState, worker: int) -> int:
        """Return the slowest worker's pushes, or without a bound the worker's own: then nobody else's count."""
        return state.applied.get(worker, 0) if self.bound is None else state.slowest

    def relative(self, state: KeyState) -> Hashable:
        """Return the versions in the making, and what every worker has sent and had applied."""
        workers = tuple(
            (worker, applied - self.origin(state, worker), state.sent[worker] - applied)
            for worker, applied in sorted(state.applied.items())
        )
        return _relative(state.making, state.slowest), workers


class Chief:
    """The global step of backup workers, shared by all shards.

    ``begun[worker]`` are the global steps its steps began with; ``times`` is when each global step was over.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.step = 0
        self.keys = 0
        self.begun: defaultdict[int, list[int]] = defaultdict(lambda: [0])
        self.times: list[float] = []
        self._complete = 0

    def key_completed(self) -> bool:
        """Count a key whose gradients of the global step are in; True if it was the last one."""
        self._complete += 1
        if self._complete < self.keys:
            return False
        self._complete = 0
        self.step += 1
        self.times.append(self.now())
        return True

    def relative(self, sent: dict[int, int]) -> Hashable:
        """Return complete keys, and the global steps that pushes not arrived and those to come begin with.

        Workers have ``sent`` so many pushes of every key.
        """
        begun = tuple(
            tuple(step - self.step for step in steps[max(sent.get(worker, 0) - 1, 0) :])
            for worker, steps in sorted(self.begun.items())
        )
        return self._complete, begun


class BackupRule:
    """The first gradients of a global step count, the others are dropped."""

    def __init__(self, consistency: Backup, chief: Chief) -> None:
        self.needed = consistency.needed
        self.chief = chief

    def arrive(self, state: KeyState, worker: int, number: int) -> Effect:
        """Sum if the gradient is of this global step and still needed."""
        begun = self.chief.begun[worker][number]
        summed = state.making.get(begun, 0) + 1
        if begun < self.chief.step or summed > self.needed:
            return DROPPED
        state.making = {begun: summed}
        if summed < self.needed:
            return COPIED if summed == 1 else SUMMED
        return ALONE if summed == 1 else COMPLETED

    def done(self, state: KeyState, worker: int, effect: Effect) -> Release:
        """Publish a complete version; the last key's ends the global step."""
        del worker
        state.version += effect.completes
        if effect.completes and self.chief.key_completed():
            return EVERYBODY
        return NOBODY

    def readable(self, state: KeyState, worker: int, wanted: int) -> bool:
        """When the global step that the worker began its last step with is over; it then begins with the new one."""
        del state
        begun = self.chief.begun[worker]
        if len(begun) <= wanted and self.chief.step > begun[-1]:
            begun.append(self.chief.step)
        return len(begun) > wanted

    def origin(self, state: KeyState, worker: int) -> int:
        """Return how many steps the worker has begun."""
        del state
        return len(self.chief.begun[worker])

    def relative(self, state: KeyState) -> Hashable:
        """Return the global step in the making."""
        return _relative(state.making, self.chief.step)


def rule_of(consistency: Consistency, chief: Chief) -> Rule:
    """Return the rule of ``consistency``; shards of one program share the ``chief``."""
    match consistency:
        case Bulk():
            return BulkRule(consistency)
        case Backup():
            return BackupRule(consistency, chief)
        case Stale():
            return StaleRule(consistency)
