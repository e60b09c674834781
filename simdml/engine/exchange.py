"""What a worker does with a shard: push a gradient, pull parameters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from simdml.engine.bundles import Bundle
from simdml.engine.network import Network
from simdml.engine.server import PushCost, Shard
from simdml.engine.stream import Stream
from simdml.engine.track import Blame, blame_on


class Push:
    """Send a gradient; the stream goes on when the server has received it."""

    __slots__ = ("bundle", "cost", "key", "latency", "network", "number", "payload_bytes", "shard")

    def __init__(
        self,
        network: Network,
        shard: Shard,
        key: str,
        bundle: Bundle,
        payload_bytes: float,
        *,
        latency: float,
        cost: PushCost,
    ) -> None:
        self.network = network
        self.shard = shard
        self.key = key
        self.bundle = bundle
        self.payload_bytes = payload_bytes
        self.latency = latency
        self.cost = cost
        self.number = 0

    def begin(self, stream: Stream) -> bool:
        """Move the gradient to the shard."""
        number = self.number
        self.shard.keys[self.key].sent[stream.rank] = self.number = number + 1
        done = partial(self._arrived, stream, stream.ready, Blame(stream, stream.position + 1), number)
        self.network.send(self.bundle, self.payload_bytes, self.latency, done)
        return False

    def part(self, stream: Stream, sent: Callable[[], None]) -> None:
        """Send a part of what the next push will complete, beside what ``stream`` does, and say when it has arrived."""
        done = partial(self._part_arrived, stream.rank, blame_on(stream), sent)
        self.network.send(self.bundle, self.payload_bytes, self.latency, done)

    def _part_arrived(self, worker: int, blame: Blame, sent: Callable[[], None]) -> None:
        self.shard.add(self.key, worker, self.cost, blame)
        sent()

    def _arrived(self, stream: Stream, start: float, blame: Blame, number: int) -> None:
        self.shard.arrived(self.key, stream.rank, number, self.cost, blame)
        stream.finish(start)


class Pull:
    """Fetch a key; the stream goes on when the answer has arrived.

    ``behind`` is by how many its worker's pushes are fewer than its pulls, this one included.
    """

    __slots__ = ("behind", "bundle", "key", "latency", "network", "number", "payload_bytes", "shard")

    def __init__(
        self,
        network: Network,
        shard: Shard,
        key: str,
        bundle: Bundle,
        payload_bytes: float,
        *,
        latency: float,
        behind: int = 0,
    ) -> None:
        self.network = network
        self.shard = shard
        self.key = key
        self.bundle = bundle
        self.payload_bytes = payload_bytes
        self.latency = latency
        self.behind = behind
        self.number = 0

    def begin(self, stream: Stream) -> bool:
        """Ask the shard; when it answers, move the parameters."""
        self.number += 1
        self.shard.request(self.key, stream.rank, self.number - self.behind, partial(self._answered, stream))
        return False

    def _answered(self, stream: Stream, blame: Blame | None) -> None:
        done = partial(Stream.finish, stream, stream.env.now, blame)
        self.network.send(self.bundle, self.payload_bytes, self.latency, done)
