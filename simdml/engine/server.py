"""A parameter-server shard: one queue of work, a version of every key, and a rule for answering pulls.

The shard sums gradients and applies updates one after another, first come first served. Synchronous shards publish a
key when every worker's push is in; asynchronous ones apply each push at once. A pull is answered when the worker's own
latest push of the key is part of what it gets; with a staleness bound s (Ho et al., "More effective distributed ML via
a stale synchronous parallel parameter server", NIPS 2013), when every worker's push of at most s steps before is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from simdml.engine.clock import quantize
from simdml.engine.environment import SimEnvironment
from simdml.engine.network import Bundle, Network
from simdml.engine.stream import Stream
from simdml.engine.track import Blame, Entry, Track

ENTRIES_KEPT = 20_000
"""A shard keeps this many latest entries, at most twice as many."""


@dataclass(slots=True)
class KeyState:
    """One key: pushes summed into the version in the making, versions published, and who waits for one.

    ``pushed`` counts each worker's pushes sent, ``applied`` those that are part of the key.
    """

    summed: int = 0
    version: int = 0
    pushed: dict[int, int] = field(default_factory=dict)
    applied: dict[int, int] = field(default_factory=dict)
    waiting: list[tuple[float, Callable[[Blame], None]]] = field(default_factory=list)


class Shard(Track):
    """The server side. ``updates`` counts finished updates of any key over the run.

    ``staleness`` is how many steps an asynchronous worker may be ahead of the slowest; None is without bound.
    """

    def __init__(
        self,
        env: SimEnvironment,
        name: str,
        index: int,
        *,
        synchronous: bool,
        workers: int,
        staleness: int | None = None,
    ) -> None:
        super().__init__(name, -1 - index)
        self.env = env
        self.synchronous = synchronous
        self.workers = workers
        self.lead: float = 0 if synchronous else inf if staleness is None else staleness
        self.free_at = 0.0
        self.updates = 0
        self.busy_s = 0.0
        self.keys: dict[str, KeyState] = {}

    def state(self, key: str) -> KeyState:
        """Return the state of ``key``, made on first use."""
        return self.keys.setdefault(key, KeyState())

    def pushed(self, key: str, worker: int, sum_s: float, update_s: float, blame: Blame) -> None:
        """A push of ``worker`` has arrived; sum it and, when the version is complete, update.

        ``sum_s`` and ``update_s`` are the shard's time for it, on the tick.
        """
        state = self.state(key)
        state.summed += 1
        complete = not self.synchronous or state.summed == self.workers
        if complete:
            state.summed = 0
        now = self.env.now
        start = max(now, self.free_at)
        cost = sum_s + (update_s if complete else 0.0)
        self.free_at = start + cost
        self.busy_s += cost
        cause = blame if start == now else None
        self.env.call_in(self.free_at - now, lambda: self._done(key, worker, now, start, cause, complete))

    def request(self, key: str, worker: int, answer: Callable[[Blame | None], None]) -> None:
        """Call ``answer`` when the worker may have the key: at once if nobody is too far behind."""
        state = self.state(key)
        wanted = state.pushed.get(worker, 0) - self.lead
        if self._settled(state) >= wanted:
            answer(None)
        else:
            state.waiting.append((wanted, answer))

    def _settled(self, state: KeyState) -> int:
        """Return how many pushes of every worker are part of the key."""
        if self.synchronous:
            return state.version
        return min(state.applied.values()) if len(state.applied) == self.workers else 0

    def _done(self, key: str, worker: int, ready: float, start: float, blame: Blame | None, complete: bool) -> None:
        self.entries.append(Entry(0, ready, start, self.env.now, blame))
        if len(self.entries) > 2 * ENTRIES_KEPT:
            self.forget(ENTRIES_KEPT)
        if not complete:
            return
        self.updates += 1
        state = self.state(key)
        state.version += 1
        state.applied[worker] = state.applied.get(worker, 0) + 1
        cause = Blame(self, self.position)
        settled = self._settled(state)
        ready_now = [answer for wanted, answer in state.waiting if wanted <= settled]
        state.waiting = [item for item in state.waiting if item[0] > settled]
        for answer in ready_now:
            answer(cause)


class Push:
    """Send a gradient; the stream goes on when the server has received it."""

    __slots__ = ("bundle", "key", "latency", "network", "payload_bytes", "shard", "sum_s", "update_s")

    def __init__(
        self,
        network: Network,
        shard: Shard,
        key: str,
        bundle: Bundle,
        payload_bytes: float,
        *,
        latency: float,
        sum_s: float,
        update_s: float,
    ) -> None:
        self.network = network
        self.shard = shard
        self.key = key
        self.bundle = bundle
        self.payload_bytes = payload_bytes
        self.latency = latency
        self.sum_s = quantize(sum_s)
        self.update_s = quantize(update_s)

    def begin(self, stream: Stream) -> bool:
        """Move the gradient to the shard."""
        start, blame = stream.ready, Blame(stream, stream.position + 1)
        pushed = self.shard.state(self.key).pushed
        pushed[stream.rank] = pushed.get(stream.rank, 0) + 1

        def done() -> None:
            self.shard.pushed(self.key, stream.rank, self.sum_s, self.update_s, blame)
            stream.finish_in(0.0, start)

        self.network.send(self.bundle, self.payload_bytes, self.latency, done)
        return False


class Pull:
    """Fetch a key; the stream goes on when the answer has arrived."""

    __slots__ = ("bundle", "key", "latency", "network", "payload_bytes", "shard")

    def __init__(
        self, network: Network, shard: Shard, key: str, bundle: Bundle, payload_bytes: float, latency: float
    ) -> None:
        self.network = network
        self.shard = shard
        self.key = key
        self.bundle = bundle
        self.payload_bytes = payload_bytes
        self.latency = latency

    def begin(self, stream: Stream) -> bool:
        """Ask the shard; when it answers, move the parameters."""

        def answer(blame: Blame | None) -> None:
            start = stream.env.now
            self.network.send(
                self.bundle, self.payload_bytes, self.latency, lambda: stream.finish_in(0.0, start, blame)
            )

        self.shard.request(self.key, stream.rank, answer)
        return False
