"""A Result for the terminal: what it predicts, where the step goes, and what limits it, on one screen."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from simdml.reporting.headline import (
    NETWORK_KINDS,
    headline,
    mean_accounts,
    memory_rows,
    share,
    share_or_dash,
    shares,
    subject,
)
from simdml.reporting.palette import ordered, style_of
from simdml.results.result import Result
from simdml.units import format_bandwidth, format_bytes, format_time

LINKS_SHOWN = 4
NOTES_SHOWN = 6
_BAR_WIDTH = 16


def result_text(result: Result) -> RenderableType:
    """Return the report of ``result``; it fits 80 columns, and 45 lines unless there are many notes."""
    parts = [_title(result), _headline(result), _accounts(result), _servers(result), _memory(result), _links(result)]
    parts.append(_notes(result))
    return Group(*(part for part in parts if part is not None))


class Bar:
    """A horizontal bar as long as its share of ``width`` cells, of blocks or, in plain ASCII, of ``#``."""

    def __init__(self, fraction: float, color: str, width: int = _BAR_WIDTH) -> None:
        self.eighths = round(min(max(fraction, 0.0), 1.0) * width * 8)
        self.color = color
        self.width = width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it."""
        full, rest = divmod(self.eighths, 8)
        bar = "#" * (full + (rest >= 4)) if options.ascii_only else "█" * full + " ▏▎▍▌▋▊▉"[rest].strip()
        yield Segment(bar.ljust(self.width), Style(color=self.color))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Say how wide it is."""
        return Measurement(self.width, self.width)


def _title(result: Result) -> RenderableType:
    return Group(Text(result.name, style="bold"), Text(subject(result), style="dim"))


def _grid(title: str = "", *, header: bool = False) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=header, header_style="dim")
    table.title, table.title_justify, table.title_style = title or None, "left", "bold"
    return table


def _indented(table: Table, title: str = "") -> RenderableType:
    heading = [Text(title, style="bold")] if title else []
    return Padding(Group(*heading, Padding(table, (0, 0, 0, 2))), (1, 0, 0, 0))


def _headline(result: Result) -> RenderableType:
    table = _grid()
    table.add_column(style="dim")
    table.add_column(justify="left", style="bold")
    for name, value in headline(result):
        table.add_row(name, value)
    return _indented(table)


def _accounts(result: Result) -> RenderableType:
    last = result.breakdowns[0]
    several = len(result.breakdowns) > 1
    mine, mean, path = shares(last.seconds), shares(mean_accounts(result)), shares(result.path_accounts())
    table = _grid(header=True)
    table.add_column("", no_wrap=True)
    table.add_column(f"rank {last.representative}", justify="right")
    table.add_column("", justify="right")
    table.add_column("")
    if several:
        table.add_column("all ranks", justify="right")
    table.add_column("critical path", justify="right")
    for name in ordered([*mine, *mean, *path]):
        fraction = mine.get(name, 0.0)
        seconds = last.seconds.get(name, 0.0)
        row: list[RenderableType] = [name, format_time(seconds) if seconds else "-", share_or_dash(fraction)]
        row.append(Bar(fraction, style_of(name).color))
        row += [share_or_dash(mean.get(name, 0.0))] if several else []
        table.add_row(*row, share_or_dash(path.get(name, 0.0)))
    table.add_row("step", format_time(result.step_time_s), style="bold")
    members = f"{last.rank_class}, {last.num_ranks} of {result.num_gpus} ranks" if several else "every rank alike"
    return _indented(table, f"Where the step goes (rank {last.representative}: {members})")


def _servers(result: Result) -> RenderableType | None:
    if result.servers is None:
        return None
    from simdml.reporting.server_text import server_rows

    table = _grid()
    table.add_column(style="dim")
    table.add_column()
    for name, text in server_rows(result.servers):
        table.add_row(name, text)
    return _indented(table, "Parameter servers")


def _memory(result: Result) -> RenderableType | None:
    if not result.memory:
        return None
    title, rows = memory_rows(result)
    table = _grid()
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    table.add_column(justify="right")
    table.add_column()
    for part, size, fraction in rows:
        table.add_row(part, size, share(fraction), Bar(fraction, "cyan"))
    return _indented(table, f"Memory ({title})")


def _links(result: Result) -> RenderableType | None:
    if not result.links:
        return None
    table = _grid(header=True)
    table.add_column("", no_wrap=True, max_width=32, overflow="ellipsis")
    table.add_column("", no_wrap=True)
    table.add_column("a step", justify="right", no_wrap=True)
    table.add_column("in use", justify="right", no_wrap=True)
    table.add_column("of", justify="right", no_wrap=True)
    busiest = {load.kind: load for load in reversed(result.links)}
    for load in sorted(busiest.values(), key=result.links.index)[:LINKS_SHOWN]:
        rate = format_bandwidth(load.capacity_bytes_per_s, network=load.kind in NETWORK_KINDS)
        table.add_row(load.name, load.kind, format_bytes(load.bytes_per_step), share(load.utilisation), rate)
    return _indented(table, "Busiest link of each kind")


def _notes(result: Result) -> RenderableType | None:
    if not result.notes:
        return None
    table = _grid()
    table.add_column()
    for note in result.notes[:NOTES_SHOWN]:
        table.add_row(Text(note))
    if len(result.notes) > NOTES_SHOWN:
        table.add_row(f"and {len(result.notes) - NOTES_SHOWN} more")
    return _indented(table, "Notes")
