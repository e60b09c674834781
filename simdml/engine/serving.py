"""Lowering of what concerns parameter servers: pushes, pulls, and work that is handed out in portions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from simdml.costs.model import ServerCost
from simdml.engine.bundles import Bundle
from simdml.engine.exchange import Pull, Push
from simdml.engine.execution import Execution, Kind, Meaning, Segment
from simdml.engine.portions import Beside, Pool, Runner
from simdml.engine.server import PushCost
from simdml.engine.stream import Operation
from simdml.engine.stretches import Timed
from simdml.program import instructions as program

DUPLICATE_WORK: Final = "duplicate work"
"""The account of work that another finished first."""


class Serving:
    """Makes operations that use shards, whose keys they register; ``pools`` are portions of work by name."""

    def __init__(self, execution: Execution, cost: ServerCost) -> None:
        self.execution = execution
        self.cost = cost
        self.pools: dict[str, Pool] = {}

    def push(self, instruction: program.Push, bundle: Bundle, latency_s: float) -> Push:
        """Return a push; each of several equal shards sums its part."""
        shard, server = self.execution.shards[instruction.server], self.execution.program.servers[instruction.server]
        work, message_s = server.work, self.cost.per_message_s
        per_byte = instruction.payload_bytes / len(server.nodes) / self.cost.bytes_per_s
        update_s = work.update * per_byte + work.commands * (message_s + 2 * latency_s)
        return Push(
            self.execution.network,
            shard,
            shard.hold(instruction.key, instruction.payload_bytes),
            bundle,
            instruction.payload_bytes,
            latency_s,
            PushCost.of(message_s, work.copy * per_byte, work.sum * per_byte, update_s),
        )

    def pull(self, instruction: program.Pull, bundle: Bundle, latency_s: float) -> Pull:
        """Return a pull."""
        shard = self.execution.shards[instruction.server]
        return Pull(
            self.execution.network,
            shard,
            shard.hold(instruction.key, instruction.payload_bytes),
            bundle,
            instruction.payload_bytes,
            latency_s,
            instruction.behind,
        )

    def portions(
        self, instruction: program.Portions, work: Sequence[Timed], pushes: Sequence[Push]
    ) -> list[tuple[Operation, Meaning]]:
        """Return the operation that does portions of ``work``, and what stands for its other entries after it."""
        pool = self.pools.setdefault(instruction.pool, Pool(instruction.portions, duplicates=instruction.duplicates))
        seconds = sum(timed.seconds for timed in work)
        segments = tuple(segment for timed in work for segment in timed.meaning.segments)
        discarded = Segment("portion that another finished", Kind.BUSY, DUPLICATE_WORK, seconds)
        nothing = Beside()
        return [
            (
                Runner(pool, seconds, pushes, instruction.send_every),
                Meaning(instruction.label, Kind.BUSY, "", segments),
            ),
            (nothing, Meaning(discarded.label, Kind.BUSY, "", (discarded,))),
            (nothing, Meaning(instruction.label, Kind.COMMUNICATION, "push")),
        ]
