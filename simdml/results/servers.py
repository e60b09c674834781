"""What parameter servers did: how busy they were, how stale gradients were, who waited for whom."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from simdml.engine.server import Activity, Shard
from simdml.engine.simulator import Recording


@dataclass(frozen=True, slots=True)
class ServerLoad:
    """One server, or ``num_servers`` equal ones: the share of its threads' time it was busy, and a push's mean wait.

    ``pushes_per_step`` counts those that came, ``dropped_per_step`` those of late workers among them.
    """

    name: str
    num_servers: int
    utilisation: float
    queued_s: float
    pushes_per_step: float
    dropped_per_step: float


@dataclass(frozen=True, slots=True)
class Held:
    """Seconds that a pull of ``rank`` was held back on average until a push of ``by`` came."""

    rank: int
    by: int
    seconds_per_pull: float


@dataclass(frozen=True, slots=True)
class ServerActivity:
    """All servers of a job over the steps that count.

    ``staleness`` is the share of applied gradients by how many updates of their parameters came between the parameters
    they were made from and themselves. ``held`` is who waited for whom, longest first. A pull waited ``for_workers_s``
    on average for pushes of others to come, and ``for_servers_s`` for the server to work off the one it needed.
    """

    servers: tuple[ServerLoad, ...]
    staleness: Mapping[int, float]
    held: tuple[Held, ...]
    for_workers_s: float
    for_servers_s: float

    @property
    def mean_staleness(self) -> float:
        """Mean over applied gradients, 0 without any."""
        return sum(updates * share for updates, share in self.staleness.items())

    def staleness_quantile(self, fraction: float) -> int:
        """Return the least staleness that ``fraction`` of the gradients do not exceed."""
        reached = 0.0
        for updates, share in self.staleness.items():
            reached += share
            if reached >= fraction * (1 - 1e-12):
                return updates
        return max(self.staleness, default=0)


def server_activity(recording: Recording) -> ServerActivity | None:
    """Return what the servers of ``recording`` did, None if it has none."""
    shards = recording.execution.shards
    if not shards:
        return None
    copies = [len(program.nodes) for program in recording.execution.program.servers]
    stale: Counter[int] = Counter()
    for shard in shards:
        stale.update(shard.activity.staleness)
    total = stale.total()
    pulls = sum(sum(shard.activity.pulls.values()) for shard in shards) or 1
    return ServerActivity(
        servers=tuple(_load(shard, number, recording) for shard, number in zip(shards, copies, strict=True)),
        staleness={updates: times / total for updates, times in sorted(stale.items())},
        held=_held([shard.activity for shard in shards]),
        for_workers_s=sum(sum(shard.activity.held.values()) for shard in shards) / pulls,
        for_servers_s=sum(sum(shard.activity.served_s.values()) for shard in shards) / pulls,
    )


def _load(shard: Shard, copies: int, recording: Recording) -> ServerLoad:
    activity = shard.activity
    seconds = recording.execution.env.now - activity.since
    steps = seconds / recording.step_time_s
    return ServerLoad(
        name=shard.name,
        num_servers=copies,
        utilisation=activity.busy_s / seconds / len(shard.free_at) if seconds else 0.0,
        queued_s=activity.queued_s / activity.pushes if activity.pushes else 0.0,
        pushes_per_step=activity.pushes / steps if steps else 0.0,
        dropped_per_step=activity.dropped / steps if steps else 0.0,
    )


def _held(activities: list[Activity]) -> tuple[Held, ...]:
    seconds: dict[tuple[int, int], float] = defaultdict(float)
    pulls: Counter[int] = Counter()
    for activity in activities:
        pulls.update(activity.pulls)
        for pair, waited in activity.held.items():
            seconds[pair] += waited
    found = [Held(rank, by, waited / pulls[rank]) for (rank, by), waited in seconds.items() if waited > 0]
    return tuple(sorted(found, key=lambda held: (-held.seconds_per_pull, held.rank, held.by)))
