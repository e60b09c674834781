"""What a worker does with a shard: push a gradient, pull parameters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from simdml.engine.bundles import Bundle
from simdml.engine.consistency import KeyState
from simdml.engine.network import Network
from simdml.engine.server import PushCost, Shard
from simdml.engine.stream import Stream
from simdml.engine.track import Blame, blame_on


class Message:
    """Moves a key between a worker and a shard. ``number`` counts how often it was begun."""

    __slots__ = ("bundle", "latency", "network", "number", "payload_bytes", "shard", "state")

    def __init__(
        self, network: Network, shard: Shard, state: KeyState, bundle: Bundle, payload_bytes: float, latency: float
    ) -> None:
        self.network = network
        self.shard = shard
        self.state = state
        self.bundle = bundle
        self.payload_bytes = payload_bytes
        self.latency = latency
        self.number = 0

    def move(self, done: Callable[[], None]) -> None:
        """Send the payload, and call ``done`` when it has arrived."""
        self.network.send(self.bundle, self.payload_bytes, self.latency, done)


class Push(Message):
    """Send a gradient; the stream goes on when the server has received it."""

    __slots__ = ("cost",)

    def __init__(
        self,
        network: Network,
        shard: Shard,
        state: KeyState,
        bundle: Bundle,
        payload_bytes: float,
        latency: float,
        cost: PushCost,
    ) -> None:
        super().__init__(network, shard, state, bundle, payload_bytes, latency)
        self.cost = cost

    def begin(self, stream: Stream) -> bool:
        """Move the gradient to the shard."""
        number = self.number
        self.state.sent[stream.rank] = self.number = number + 1
        arrived = partial(self._arrived, stream, stream.ready, number)
        self.network.send(self.bundle, self.payload_bytes, self.latency, arrived)
        return False

    def part(self, stream: Stream, sent: Callable[[], None]) -> None:
        """Send a part of what the next push will complete, beside what ``stream`` does, and say when it has arrived."""
        self.move(partial(self._part_arrived, stream.rank, blame_on(stream), sent))

    def _part_arrived(self, worker: int, blame: Blame, sent: Callable[[], None]) -> None:
        self.shard.add(self.state, worker, self.cost, blame)
        sent()

    def _arrived(self, stream: Stream, start: float, number: int) -> None:
        self.shard.arrived(self.state, stream.rank, number, self.cost, blame_on(stream, 1))
        stream.finish(start)


class Pull(Message):
    """Fetch a key; the stream goes on when the answer has arrived.

    ``behind`` is by how many its worker's pushes are fewer than its pulls, this one included.
    """

    __slots__ = ("behind",)

    def __init__(
        self,
        network: Network,
        shard: Shard,
        state: KeyState,
        bundle: Bundle,
        payload_bytes: float,
        latency: float,
        behind: int = 0,
    ) -> None:
        super().__init__(network, shard, state, bundle, payload_bytes, latency)
        self.behind = behind

    def begin(self, stream: Stream) -> bool:
        """Ask the shard; when it answers, move the parameters."""
        self.number = number = self.number + 1
        self.shard.request(self.state, stream.rank, number - self.behind, partial(self._answered, stream))
        return False

    def _answered(self, stream: Stream, blame: Blame | None) -> None:
        done = partial(type(stream).finish, stream, stream.env.now, blame)
        self.network.send(self.bundle, self.payload_bytes, self.latency, done)
