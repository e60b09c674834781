"""A picture of a comparison: how the step of the reference becomes that of another, account by account."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from matplotlib import rc_context
from matplotlib.figure import Figure

from simdml.engine.clock import seconds
from simdml.reporting.palette import label_of, style_of
from simdml.reporting.saving import STYLE
from simdml.studies.compare.comparison import Comparison, Difference
from simdml.studies.compare.table import signed
from simdml.studies.compare.waterfall import Waterfall
from simdml.units import format_time

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BARS_SHOWN: Final = 9
SEEN, CUT = 0.002, 0.2
_WIDTH, _HEIGHT, _ROW = 10.0, 1.2, 0.34
_STEP_COLOR, _EDGE = "#d4d4d4", "#333333"


def waterfall_figure(comparison: Comparison) -> Figure:
    """Return a figure with one waterfall for each scenario that is compared with the reference."""
    with rc_context(STYLE):
        bars = [_bars(other.waterfall) for other in comparison.others]
        heights = [_HEIGHT + _ROW * (2 + len(each)) for each in bars]
        figure = Figure(figsize=(_WIDTH, sum(heights)), layout="constrained")
        axes = figure.subplots(len(bars), 1, height_ratios=heights, squeeze=False)
        for each, other, causes in zip(axes.flat, comparison.others, bars, strict=True):
            _draw(each, comparison.name, other, causes)
        return figure


def _bars(fall: Waterfall) -> list[tuple[str, int]]:
    """Return account and ticks of what is drawn: the largest causes, and the rest as one."""
    least = SEEN * max(fall.before, fall.after)
    shown = [cause for cause in fall.causes[:BARS_SHOWN] if abs(cause.ticks) >= least]
    rest = fall.causes[len(shown) :]
    bars = [(cause.account, cause.ticks) for cause in shown]
    return [*bars, (f"{len(rest)} smaller", sum(cause.ticks for cause in rest))] if rest else bars


def _draw(axes: Axes, reference: str, other: Difference, bars: list[tuple[str, int]]) -> None:
    fall = other.waterfall
    levels = [seconds(level) for level in accumulate((ticks for _, ticks in bars), initial=fall.before)]
    for row, level in ((0, levels[0]), (len(bars) + 1, levels[-1])):
        axes.barh(row, level, color=_STEP_COLOR, edgecolor=_EDGE, linewidth=0.6)
    for row, (account, ticks) in enumerate(bars, start=1):
        style, begin, end = style_of(account), levels[row - 1], levels[row]
        look: dict[str, Any] = {"color": style.color, "hatch": style.hatch, "edgecolor": _EDGE, "linewidth": 0.6}
        axes.barh(row, end - begin, left=begin, **look)
        offset = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(signed(seconds(ticks)), (max(begin, end), row), **offset)  # type: ignore[arg-type]
    for row, level in enumerate(levels):
        axes.plot([level, level], [row - 0.4, row + 1.4], color=_EDGE, linewidth=0.6)
    names = [reference, *(label_of(account) for account, _ in bars), other.name]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(bars) + 1.6, -0.6)
    _limit(axes, levels)
    before, after = format_time(levels[0]), format_time(levels[-1])
    axes.set_title(f"From {before} a step of {reference} to {after} of {other.name}")


def _limit(axes: Axes, levels: list[float]) -> None:
    """Show the time axis from 0, or from near the steps where they differ by little."""
    low, high = min(levels), max(levels)
    begin = low - (high - low) if 0 < high - low < CUT * high else 0.0
    axes.set_xlim(begin, high + 0.14 * (high - begin))
    axes.set_xlabel("time (s)" if begin == 0 else "time (s); the axis does not begin at 0")
