"""Sections of a report about one job: where its step goes, on which links, and what fills its memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from simdml.cluster.cluster import Cluster
from simdml.reporting.drawings import picture
from simdml.reporting.headline import (
    NETWORK_KINDS,
    mean_accounts,
    share,
    share_or_dash,
    shares,
)
from simdml.reporting.palette import label_of, ordered
from simdml.reporting.report import Block, Picture, Section, Table, Topic, Words
from simdml.reporting.server_text import server_rows
from simdml.results.links import LinkLoad
from simdml.results.plain import MEMORY_PARTS
from simdml.results.result import Result
from simdml.results.saved import Predicted
from simdml.units import format_bandwidth, format_bytes, format_time

ROWS_SHOWN: Final = 12
LINKS_SHOWN: Final = 3


def job_sections(result: Predicted) -> Iterator[Section]:
    """Yield what there is to say about a job; timeline and servers of a result that was simulated here alone."""
    yield Section(Topic.TIME, "Where the step goes", tuple(_time(result)))
    if isinstance(result, Result):
        yield Section(Topic.TIMELINE, "A step as it passes", tuple(_timeline(result)))
        if result.servers is not None:
            yield Section(Topic.SERVERS, "Parameter servers", (_servers(server_rows(result.servers)),))
    yield Section(Topic.NETWORK, "Links and their load", tuple(_network(result)))
    yield Section(Topic.MEMORY, "Device memory", tuple(_memory(result)))


def _time(result: Predicted) -> Iterator[Block]:
    last = result.breakdowns[0]
    several = len(result.breakdowns) > 1
    who = f"{last.num_ranks:,} of {result.num_gpus:,} ranks" if several else "every rank alike"
    mine, mean, path = shares(last.seconds), shares(mean_accounts(result)), shares(result.path_accounts())
    columns = ["", f"rank {last.representative}", "of its step", *(["all ranks"] if several else []), "critical path"]
    rows = []
    for name in ordered([*mine, *mean, *path]):
        seconds = last.seconds.get(name, 0.0)
        row = [name, format_time(seconds) if seconds else "-", share_or_dash(mine.get(name, 0.0))]
        row += [share_or_dash(mean.get(name, 0.0))] if several else []
        rows.append((*row, share_or_dash(path.get(name, 0.0))))
    rows.append(("step", format_time(result.step_time_s), *[""] * (len(columns) - 2)))
    caption = f"A step on rank {last.representative}, the last to end it ({last.rank_class}: {who})"
    yield Table(caption, tuple(columns), tuple(rows), total=True)


def _timeline(result: Result) -> Iterator[Block]:
    # matplotlib is slow to load.
    from simdml.reporting.figures import result_figure

    largest = [name for name, _ in sorted(result.breakdown.items(), key=lambda item: -item[1])[:3]]
    alt = "Stacked bars of seconds by account for every kind of rank, and below them a timeline of one step of "
    alt += f"{format_time(result.step_time_s)}. Largest on the rank that ends it: {', '.join(map(label_of, largest))}."
    yield picture("timeline", lambda: result_figure(result), alt)
    if pieces := _longest(result):
        columns = ("what", "where", "account", "pieces", "seconds", "of the step")
        yield Table("Longest pieces of the critical path", columns, pieces, text_columns=3)


def _longest(result: Result) -> tuple[tuple[str, ...], ...]:
    """Return what the critical path spends most on, equal pieces of one track together."""
    totals: dict[tuple[str, str, str], tuple[int, float]] = {}
    for segment in result.critical_path:
        where = f"rank {segment.rank}, {segment.track}" if segment.rank >= 0 else segment.track
        key = (segment.label, where, segment.account)
        count, seconds = totals.get(key, (0, 0.0))
        totals[key] = (count + 1, seconds + segment.seconds)
    longest = sorted(totals.items(), key=lambda item: (-item[1][1], item[0]))[:ROWS_SHOWN]
    return tuple(
        (*key, f"{count:,}", format_time(seconds), share(seconds / result.step_time_s))
        for key, (count, seconds) in longest
    )


def _servers(rows: Sequence[tuple[str, str]]) -> Table:
    return Table("What the parameter servers did", ("", ""), tuple(rows), text_columns=2)


def _network(result: Predicted) -> Iterator[Block]:
    if not result.links:
        yield Words(("The job moves nothing over links.",))
        return
    loads = busiest_loads(result)
    if isinstance(result, Result):
        yield topology_picture(result.recording.execution.cluster, loads)
    rows = tuple(
        (
            load.name,
            load.kind,
            format_bytes(load.bytes_per_step),
            format_bandwidth(load.capacity_bytes_per_s, network=load.kind in NETWORK_KINDS),
            share(load.utilisation),
        )
        for load in busiest_links(result.links)
    )
    caption = "The busiest links of each kind, one of each class of equal ones, on average over the step"
    yield Table(caption, ("link", "kind", "a step", "capacity", "in use"), rows, text_columns=2)


def busiest_links(links: Iterable[LinkLoad]) -> list[LinkLoad]:
    """Return the busiest few of each kind; of equal ones of a kind the first."""
    shown: dict[str, dict[tuple[float, float], LinkLoad]] = {}
    for load in links:
        shown.setdefault(load.kind, {}).setdefault((load.bytes_per_step, load.capacity_bytes_per_s), load)
    return [load for alike in shown.values() for load in list(alike.values())[:LINKS_SHOWN]]


def busiest_loads(result: Predicted) -> dict[str, float]:
    """Return how much of its capacity the busiest link of each kind uses."""
    loads: dict[str, float] = {}
    for load in result.links:
        loads[load.kind] = max(load.utilisation, loads.get(load.kind, 0.0))
    return loads


def topology_picture(cluster: Cluster, loads: Mapping[str, float]) -> Picture:
    """Return the picture of ``cluster`` with the busiest link of each kind in its legend."""
    from simdml.cluster.draw import figure
    from simdml.cluster.draw_loads import draw_loads

    used = ", ".join(f"{kind.replace('_', ' ')} {share(load)}" for kind, load in loads.items())
    alt = f"The network of {cluster.name} and one of its nodes with CPUs, GPUs and NICs. Busiest links in use: {used}."
    caption = "The busier a link, the wider its line; links that carry nothing are dotted."
    return picture("topology", lambda: draw_loads(figure(cluster), loads), alt, caption)


def _memory(result: Predicted) -> Iterator[Block]:
    if not result.memory:
        return
    # matplotlib is slow to load.
    from simdml.reporting.gantt import spread
    from simdml.reporting.memory_figure import CLASSES_SHOWN, memory_figure

    shown = spread(result.memory, CLASSES_SHOWN)
    fullest = max(result.memory, key=lambda estimate: estimate.total / estimate.capacity)
    alt = f"Stacked bars of memory by part for every kind of rank. Fullest: {fullest.rank_class} with "
    alt += f"{format_bytes(fullest.total)} of {format_bytes(fullest.capacity)}."
    yield picture("memory", lambda: memory_figure(result.memory), alt)
    rows = tuple(
        (
            estimate.rank_class,
            *(format_bytes(getattr(estimate, part)) for part in MEMORY_PARTS),
            format_bytes(estimate.total),
            f"{share(estimate.total / estimate.capacity)} of {format_bytes(estimate.capacity)}",
        )
        for estimate in shown
    )
    caption = "Memory at the peak of a step"
    caption += f", {len(shown)} of {len(result.memory)} kinds of rank" if len(shown) < len(result.memory) else ""
    yield Table(caption, ("ranks", *MEMORY_PARTS, "total", "of capacity"), rows)
