"""What of the state of parameter servers decides about the future, with every number and time relative to now."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from simdml.engine.consistency import KeyState
from simdml.engine.exchange import Message, Push
from simdml.engine.execution import Execution
from simdml.engine.operations import Every
from simdml.engine.server import PART, Service, Shard
from simdml.engine.stream import Operation, Stream


def server_state(execution: Execution, streams: Sequence[Stream]) -> Iterator[Hashable]:
    """Yield the state of every shard, of the messages between it and its workers, and of the global step."""
    now = execution.env.now
    for shard in execution.shards:
        yield tuple(max(free - now, 0.0) for free in shard.free_at)
        for state in shard.keys.values():
            yield shard.rule.relative(state), tuple(_waiting(shard, state, now)), tuple(_versions(shard, state))
    messages = list(dict.fromkeys((stream.rank, each) for stream in streams for each in _messages(stream.operations)))
    for rank, message in messages:
        yield message.number - message.shard.rule.origin(message.state, rank)
    sent: dict[int, int] = {}
    for rank, message in messages:
        if isinstance(message, Push):
            sent[rank] = min(sent.get(rank, message.number), message.number)
    yield execution.chief.relative(sent)


def service_state(service: Service, shard: Shard, now: float) -> Hashable:
    """Return what a push in service is, and does when it is worked off."""
    number: int | None = None
    if service.number != PART:
        number = service.number - shard.rule.origin(service.state, service.worker)
    times = service.arrived - now, service.start - now
    return id(service.state), service.worker, number, service.effect, times


def _messages(operations: Sequence[Operation]) -> Iterator[Message]:
    for operation in operations:
        found = operation.operation if isinstance(operation, Every) else operation
        if isinstance(found, Message):
            yield found


def _waiting(shard: Shard, state: KeyState, now: float) -> Iterator[Hashable]:
    for request in state.waiting.values():
        yield request.worker, request.wanted - shard.rule.origin(state, request.worker), request.asked - now


def _versions(shard: Shard, state: KeyState) -> Iterator[Hashable]:
    """Yield how old the parameters are that gradients to come are made from, as far back as they can be."""
    for worker, seen in sorted(state.seen.items()):
        yield worker, tuple(state.version - version for version in seen[-2 * (shard.delay + 1) :])
