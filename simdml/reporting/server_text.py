"""Parameter servers in words: how busy, how stale, who waits for whom; the same in the terminal and on pages."""

from __future__ import annotations

from typing import Final

from simdml.reporting.headline import share
from simdml.results.servers import ServerActivity, ServerLoad
from simdml.units import format_time

PAIRS_SHOWN: Final = 3


def server_rows(activity: ServerActivity) -> list[tuple[str, str]]:
    """Return what to say about servers, as name and text."""
    rows = [("servers busy", _busy(activity.servers)), ("staleness", _staleness(activity))]
    slowest = max(activity.servers, key=lambda load: load.queued_s)
    where = f" at {slowest.name}" if len(activity.servers) > 1 else ""
    rows.append(
        ("a push queues", f"{format_time(slowest.queued_s)} on average{where}" if slowest.queued_s else "no time")
    )
    rows.append(
        ("a pull waits", f"{_time(activity.for_workers_s)} for workers, {_time(activity.for_servers_s)} for servers")
    )
    if any(load.dropped_per_step for load in activity.servers):
        pushes = sum(load.pushes_per_step for load in activity.servers)
        dropped = sum(load.dropped_per_step for load in activity.servers)
        rows.append(("dropped", f"{share(dropped / pushes)} of the pushes came too late"))
    for number, held in enumerate(activity.held[:PAIRS_SHOWN]):
        text = f"rank {held.rank} for rank {held.by}, {format_time(held.seconds_per_pull)} a pull"
        rows.append(("who waits" if number == 0 else "", text))
    return rows


def _time(seconds: float) -> str:
    return format_time(seconds) if seconds else "0 s"


def _busy(servers: tuple[ServerLoad, ...]) -> str:
    busiest = max(servers, key=lambda load: load.utilisation)
    if sum(load.num_servers for load in servers) == busiest.num_servers:
        return share(busiest.utilisation) + (" each" if busiest.num_servers > 1 else "")
    least = min(load.utilisation for load in servers)
    return f"{share(least)} to {share(busiest.utilisation)} ({busiest.name})"


def _staleness(activity: ServerActivity) -> str:
    if not activity.staleness:
        return "no gradient was applied that was made from pulled parameters"
    if max(activity.staleness) == 0:
        return "none"
    quantiles = ", ".join(
        f"{name} {activity.staleness_quantile(fraction)}" for name, fraction in (("median", 0.5), ("95 % below", 0.95))
    )
    return f"mean {activity.mean_staleness:.2f} updates, {quantiles}, at most {max(activity.staleness)}"
