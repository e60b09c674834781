"""A parameter-server shard: gradients queue for its threads, and pulls for the version they may have.

Pushes are served first come, first served; what a push does, and who may read, is its consistency's affair
(:mod:`simdml.engine.consistency`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from simdml.engine.clock import quantize
from simdml.engine.consistency import (
    DROPPED,
    EVERYBODY,
    ITS_WORKER,
    SUMMED,
    THE_KEY,
    Chief,
    Effect,
    KeyState,
    Request,
    Rule,
    rule_of,
)
from simdml.engine.environment import SimEnvironment
from simdml.engine.track import Blame, Entry, Track, blame_on
from simdml.program.servers import Bulk, ServerShard

ENTRIES_KEPT = 20_000
"""A shard keeps this many latest entries, at most twice as many."""
PART = -1
"""The number of what is only a part of a push."""


class PushCost(NamedTuple):
    """A shard's seconds for a push, on the tick: for the message, the first copy, each sum, an update; or to apply."""

    message_s: float
    copy_s: float
    sum_s: float
    update_s: float
    apply_s: float

    @classmethod
    def of(cls, message_s: float, copy_s: float, sum_s: float, update_s: float) -> PushCost:
        """Return costs on the tick; to apply a push at once is an update, or a sum where workers make the updates."""
        parts = (message_s, copy_s, sum_s, update_s, update_s or sum_s)
        return cls(*(quantize(part) for part in parts))

    def total(self, effect: Effect) -> float:
        """Return the seconds ``effect`` takes."""
        done = effect.copies * self.copy_s + effect.sums * self.sum_s
        return self.message_s + done + effect.updates * self.update_s + effect.applies * self.apply_s


@dataclass(slots=True)
class Activity:
    """What a shard did since ``since``, seconds and counts; results read it.

    ``queued_s`` is the time pushes waited for a thread or a lock. ``staleness`` counts applied gradients by how many
    updates of the key came after the parameters they were made from. ``pulls`` counts those answered by worker;
    ``held[waiter, other]`` are the seconds
    pulls of ``waiter`` were held back until a push of ``other`` came; ``served_s[waiter]`` those until the shard had
    worked that push off.
    """

    since: float = 0.0
    busy_s: float = 0.0
    queued_s: float = 0.0
    pushes: int = 0
    dropped: int = 0
    updates: int = 0
    pulls: Counter[int] = field(default_factory=Counter)
    staleness: Counter[int] = field(default_factory=Counter)
    held: dict[tuple[int, int], float] = field(default_factory=lambda: defaultdict(float))
    served_s: dict[int, float] = field(default_factory=lambda: defaultdict(float))


class Service:
    """A push that is worked off, its own event when that is done: when it came and was begun, and what it does."""

    __slots__ = ("arrived", "blame", "callbacks", "effect", "number", "start", "state", "worker")
    _ok = True

    def __init__(
        self,
        callbacks: list[Callable[[Any], None]],
        state: KeyState,
        worker: int,
        number: int,
        effect: Effect,
        arrived: float,
    ) -> None:
        self.callbacks: list[Callable[[Any], None]] | None = callbacks
        self.state = state
        self.worker = worker
        self.number = number
        self.effect = effect
        self.arrived = arrived
        self.start = arrived
        self.blame: Blame | None = None


class Shard(Track):
    """The server side.

    ``threads`` serve pushes side by side. With ``key_lock`` every key belongs to one of them, to that with the fewest
    bytes when it was first seen, as in BytePS (byteps/server/server.h, GetThreadID). A gradient is made from the
    parameters of ``delay`` pulls before the latest. ``peers`` are all shards of the program.
    """

    def __init__(
        self,
        env: SimEnvironment,
        name: str,
        index: int,
        rule: Rule,
        *,
        threads: int = 1,
        key_lock: bool = True,
        delay: int = 0,
    ) -> None:
        super().__init__(name, -1 - index)
        self.env = env
        self.rule = rule
        self.key_lock = key_lock
        self.delay = delay
        self.free_at = [0.0] * threads
        self.load_bytes = [0.0] * threads
        self.keys: dict[str, KeyState] = {}
        self.activity = Activity()
        self.peers: list[Shard] = [self]
        self._when_served: list[Callable[[Any], None]] = [self._served]

    def hold(self, key: str, nbytes: float) -> KeyState:
        """Return the place of ``key``, made if there is none."""
        if key not in self.keys:
            thread = self.load_bytes.index(min(self.load_bytes))
            self.load_bytes[thread] += nbytes
            self.keys[key] = KeyState(thread if self.key_lock else None)
        return self.keys[key]

    def clear(self) -> None:
        """Forget everything: what was done, who waits, and the other shards."""
        self.entries.clear()
        for state in self.keys.values():
            state.waiting.clear()
        self.peers = []
        self._when_served.clear()

    def restart_activity(self) -> None:
        """Forget what was done so far, at the end of a warm-up."""
        self.activity = Activity(self.env.now)

    def arrived(self, state: KeyState, worker: int, number: int, cost: PushCost, blame: Blame) -> None:
        """Push ``number`` of ``worker`` has arrived: put it in the queue of its thread, or of the one free first."""
        effect = self.rule.arrive(state, worker, number)
        self._queue(Service(self._when_served, state, worker, number, effect, self.env.now), cost, blame)

    def add(self, state: KeyState, worker: int, cost: PushCost, blame: Blame) -> None:
        """A part of a push has arrived: sum it; it completes nothing."""
        self._queue(Service(self._when_served, state, worker, PART, SUMMED, self.env.now), cost, blame)

    def _queue(self, service: Service, cost: PushCost, blame: Blame) -> None:
        thread, start, free_at = service.state.thread, service.arrived, self.free_at
        if thread is None:
            thread = free_at.index(min(free_at))
        if free_at[thread] <= start:
            service.blame = blame
        else:
            service.start = start = free_at[thread]
        end = free_at[thread] = start + cost.total(service.effect)
        self.env.put_at(service, end)

    def request(self, state: KeyState, worker: int, wanted: int, answer: Callable[[Blame | None], None]) -> None:
        """Call ``answer`` when ``worker``, which has sent ``wanted`` pushes of the key, may have it."""
        if self.rule.readable(state, worker, wanted):
            self._answer(state, worker, answer, None)
        else:
            state.waiting[worker] = Request(wanted, worker, self.env.now, answer)

    def _answer(
        self, state: KeyState, worker: int, answer: Callable[[Blame | None], None], blame: Blame | None
    ) -> None:
        seen = state.seen.setdefault(worker, [])
        if self.delay or not seen:
            seen.append(state.version)
        else:
            seen[0] = state.version
        self.activity.pulls[worker] += 1
        answer(blame)

    def _served(self, service: Service) -> None:
        state, start, now, log = service.state, service.start, self.env.now, self.entries
        blame = service.blame
        if start != service.arrived and len(self.free_at) > 1:
            blame = self._ended_at(start)
        log.append(tuple.__new__(Entry, (0, service.arrived, start, now, blame)))
        if len(log) > 2 * ENTRIES_KEPT:
            self.forget(ENTRIES_KEPT)
        self._note(service, now)
        if service.number == PART:
            return
        rule, worker = self.rule, service.worker
        release = rule.done(state, worker, service.effect)
        if release is ITS_WORKER:
            own = state.waiting.get(worker)
            if own is not None and rule.readable(state, worker, own.wanted):
                self._grant(state, own, service, blame_on(self))
        elif release is THE_KEY:
            if state.waiting:
                self._release(state, tuple(state.waiting.values()), service, blame_on(self))
        elif release is EVERYBODY:
            for shard in self.peers:
                for each in shard.keys.values():
                    shard._release(each, tuple(each.waiting.values()), service, blame_on(self))

    def _release(self, state: KeyState, requests: Sequence[Request], service: Service, cause: Blame) -> None:
        """Answer those of the pulls that ``service`` released, in the order they asked."""
        for request in [each for each in requests if self.rule.readable(state, each.worker, each.wanted)]:
            self._grant(state, request, service, cause)

    def _grant(self, state: KeyState, request: Request, service: Service, cause: Blame) -> None:
        """Answer a pull that ``service`` released, and note who kept it waiting."""
        del state.waiting[request.worker]
        activity, waited_until = self.activity, max(request.asked, service.arrived)
        activity.held[request.worker, service.worker] += waited_until - request.asked
        activity.served_s[request.worker] += self.env.now - waited_until
        self._answer(state, request.worker, request.answer, cause)

    def _ended_at(self, time: float) -> Blame | None:
        """Return the blame for the work that was over at ``time``, for which a push waited."""
        for index in range(len(self.entries) - 1, -1, -1):
            if self.entries[index].end == time:
                return Blame(self, self.first + index + 1)
        return None

    def _note(self, service: Service, now: float) -> None:
        activity, effect, state = self.activity, service.effect, service.state
        activity.pushes += 1
        activity.busy_s += now - service.start
        activity.queued_s += service.start - service.arrived
        activity.updates += effect.completes
        if effect is DROPPED:
            activity.dropped += 1
            return
        seen, number = state.seen.get(service.worker), service.number
        # The first gradients are made from the parameters that everybody began with.
        if seen and number > self.delay and number != PART:
            made_from = seen[number - 1 - self.delay if self.delay else 0]
            activity.staleness[state.version - made_from] += 1


def make_shards(env: SimEnvironment, programs: Sequence[ServerShard], chief: Chief) -> list[Shard]:
    """Return the shards of a program, which know each other."""
    shards = [
        Shard(
            env,
            program.name,
            index,
            rule_of(program.consistency, chief),
            threads=program.threads,
            key_lock=program.key_lock,
            delay=program.consistency.delay if isinstance(program.consistency, Bulk) else 0,
        )
        for index, program in enumerate(programs)
    ]
    for shard in shards:
        shard.peers = shards
    return shards
