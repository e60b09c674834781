"""Pictures of a Result: where the step goes on every rank class, and a step as it passes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from simdml.reporting import server_panel
from simdml.reporting.gantt import SHORT, Lane, choose_lanes, draw_lanes, hidden_accounts, merge_blocks, spread
from simdml.reporting.headline import alike, subject
from simdml.reporting.palette import Style, is_dark, label_of, ordered, style_of
from simdml.reporting.saving import STYLE, drawing_bytes, save_drawing
from simdml.results.breakdown import RankBreakdown
from simdml.results.result import Result
from simdml.results.servers import ServerActivity
from simdml.results.timeline import WAITING, shown_window, timeline
from simdml.units import format_time

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLASSES_SHOWN: Final = 16
_WIDTH: Final = 10.0
_ROW: Final = 0.32
_LABELLED: Final = 0.05
_SEEN: Final = 0.001


def result_figure(result: Result) -> Figure:
    """Return a figure with stacked bars of seconds by account, the timeline of one step below, and what servers did."""
    with rc_context(STYLE):
        classes = spread(alike(result.breakdowns), CLASSES_SHOWN)
        begin, end = shown_window(result.recording)
        lanes, length_s = choose_lanes(result, timeline(result)), end - begin
        rows = [merge_blocks(lane.spans, SHORT * length_s) for lane in lanes]
        heights = [0.5 + _ROW * len(classes), 0.7 + sum(_ROW * lane.height for lane in lanes)]
        figure = Figure(figsize=(_WIDTH, sum(heights) + 1.1), layout="constrained")
        # Asynchronous workers have no common step: the bars are of the mean one, the timeline of one worker's last.
        shared = not result.recording.asynchronous
        if result.servers is None or not server_panel.says_something(result.servers):
            bars, gantt = figure.subplots(2, 1, sharex=shared, height_ratios=heights)
        else:
            bars, gantt = _with_servers(figure, heights, result.servers, shared=shared)
        figure.suptitle(f"{result.name}: {format_time(result.step_time_s)} a step, {subject(result)}", fontsize=11)
        scale, unit = time_unit(result.step_time_s)
        accounts = _draw_bars(bars, classes, scale)
        accounts |= draw_lanes(gantt, lanes, rows, scale, length_s)
        bars.set_title("Where the step goes")
        gantt.set_title(_timeline_title(result, lanes))
        gantt.set_xlabel(_time_label(unit, hidden_accounts(lanes, rows)))
        bars.tick_params(axis="x", labelbottom=not shared)
        _legend(figure, accounts)
        return figure


def _with_servers(figure: Figure, heights: list[float], servers: ServerActivity, *, shared: bool) -> tuple[Axes, Axes]:
    """Draw what servers did at the bottom of ``figure`` and return the axes of bars and timeline above."""
    figure.set_size_inches(_WIDTH, sum(heights) + 1.1 + server_panel.HEIGHT)
    grid = figure.add_gridspec(3, 2, height_ratios=[*heights, server_panel.HEIGHT])
    bars = figure.add_subplot(grid[0, :])
    gantt = figure.add_subplot(grid[1, :], sharex=bars if shared else None)
    server_panel.draw_staleness(figure.add_subplot(grid[2, 0]), servers)
    server_panel.draw_waits(figure.add_subplot(grid[2, 1]), servers)
    return bars, gantt


def save_figure(result: Result, path: str | os.PathLike[str]) -> None:
    """Write :func:`result_figure` to ``path`` as its suffix says: .png, .svg or .pdf; equal results, equal bytes.

    Raises:
        OutputError: for another suffix, or if the file cannot be written.
    """
    save_drawing(lambda: result_figure(result), path)


def figure_bytes(result: Result, kind: str) -> bytes:
    """Return the figure as ``png``, ``svg`` or ``pdf``, without when and with what it was drawn."""
    return drawing_bytes(lambda: result_figure(result), kind)


def _draw_bars(axes: Axes, classes: Sequence[RankBreakdown], scale: float) -> set[str]:
    seen: set[str] = set()
    for row, breakdown in enumerate(classes):
        left, total = 0.0, sum(breakdown.seconds.values())
        for name in ordered(breakdown.seconds):
            width, style = breakdown.seconds[name] * scale, style_of(name)
            look: dict[str, Any] = {"color": style.color, "hatch": style.hatch, "edgecolor": "white", "linewidth": 0.5}
            axes.barh(row, width, left=left, height=0.74, **look)
            fraction = breakdown.seconds[name] / total
            if fraction > _LABELLED:
                _write_share(axes, left + width / 2, row, fraction, style)
            if fraction > _SEEN:
                seen.add(name)
            left += width
    axes.set_yticks(range(len(classes)), [_class_label(breakdown, len(classes)) for breakdown in classes])
    axes.set_ylim(len(classes) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    return seen


def _write_share(axes: Axes, x: float, y: float, fraction: float, style: Style) -> None:
    color = "white" if is_dark(style.color) else "black"
    box = {"facecolor": style.color, "edgecolor": "none", "pad": 1.0}
    text = f"{100 * fraction:.0f} %"
    axes.text(x, y, text, color=color, fontsize=8.0, ha="center", va="center_baseline", bbox=box)


def _class_label(breakdown: RankBreakdown, num_classes: int) -> str:
    if breakdown.num_ranks == 1:
        return f"{breakdown.rank_class} (rank {breakdown.representative})"
    if num_classes == 1:
        return f"each of {breakdown.num_ranks:,} ranks"
    return f"{breakdown.rank_class} ({breakdown.num_ranks:,} ranks)"


def _timeline_title(result: Result, lanes: Sequence[Lane]) -> str:
    if result.recording.asynchronous:
        return f"The last step of rank {result.breakdowns[0].representative}, which ended last"
    shown, kinds = {lane.rank for lane in lanes if lane.rank >= 0}, len(alike(result.breakdowns))
    if len(shown) < kinds:
        return f"One step of {len(shown)} of {kinds} kinds of rank"
    return "One step of one of them" if kinds == 1 and result.num_gpus > 1 else "One step"


def _time_label(unit: str, hidden: Sequence[str]) -> str:
    names = ", ".join(label_of(name) for name in hidden)
    return f"time ({unit})" + (f"; drawn with the computation around it: {names}" if names else "")


def _legend(figure: Figure, accounts: Iterable[str]) -> None:
    styles = {label_of(name): style_of(name) for name in ordered(accounts) if name != WAITING}
    patches = [
        Patch(facecolor=style.color, hatch=style.hatch, edgecolor="white", linewidth=0.4, label=label)
        for label, style in styles.items()
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), 6), frameon=False)


def time_unit(longest_s: float) -> tuple[float, str]:
    """Return what to multiply seconds by on an axis that ends at ``longest_s``, and the unit they are then in."""
    for scale, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
        if longest_s * scale >= 2.0:
            return scale, unit
    return 1e6, "us"
