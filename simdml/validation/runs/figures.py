"""Predicted against measured, and errors by group, as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from simdml.validation.runs.study import RunsValidation

_STYLES = (
    ("#0a5c9c", "o"),
    ("#c44e00", "s"),
    ("#00805e", "^"),
    ("#8d3b8b", "D"),
    ("#7a6a00", "v"),
    ("#555555", "P"),
    ("#b03060", "X"),
    ("#2a7f9e", "<"),
)
MOST_SOURCES = len(_STYLES)
LONGEST_NAME, LEGEND_ENTRIES, MOST_BOXES = 44, 10, 24


def runs_figure(validation: RunsValidation) -> Figure:
    """Return predicted over measured step times by source, beside the spread of errors of every source."""
    figure = Figure(figsize=(11.0, 6.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1.0))
    sources: dict[str, list[tuple[float, float]]] = {}
    for each in validation.rows:
        if each.error is not None and each.row.measured_s:
            sources.setdefault(each.row.source, []).append((each.row.measured_s, 1.0 + each.error))
    names = sorted(sources, key=lambda name: -len(sources[name]))
    times = [value for points in sources.values() for value, _ in points] or [1.0]
    ends = min(times) / 1.4, max(times) * 1.4
    left.plot(ends, ends, color="#777777", linewidth=1.0, label="equal")
    left.fill_between(ends, [0.9 * end for end in ends], [1.1 * end for end in ends], color="#e4e4e4", label="10 %")
    for index, name in enumerate(names):
        color, marker = _STYLES[index % MOST_SOURCES]
        measured = [value for value, _ in sources[name]]
        predicted = [value * ratio for value, ratio in sources[name]]
        label = shortened(name, LONGEST_NAME)
        left.plot(measured, predicted, marker, color=color, markersize=3.5, alpha=0.7, linestyle="none", label=label)
    left.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    left.set_xlabel("measured step time (s)")
    left.set_ylabel("predicted step time (s)")
    left.legend(*_largest(left, LEGEND_ENTRIES), frameon=False, fontsize=7, loc="upper left")
    error_boxes(right, {name: [ratio - 1.0 for _, ratio in sources[name]] for name in names[:MOST_BOXES]}, LONGEST_NAME)
    right.set_xlabel("error of step time: quartiles, 5th to 95th percentile")
    return figure


def error_boxes(axes: Axes, errors: Mapping[str, Sequence[float]], longest: int) -> None:
    """Draw the spread of every group's errors, the first on top, beside its name and how many they are."""
    if errors:
        names = list(errors)[::-1]
        spreads = [errors[name] for name in names]
        look = {"color": "#c44e00"}
        axes.boxplot(spreads, orientation="horizontal", whis=(5, 95), showfliers=False, medianprops=look)
        labels = [f"{shortened(name, longest)} ({len(errors[name])})" for name in names]
        axes.set_yticks(range(1, len(names) + 1), labels, fontsize=7)
    axes.axvline(0.0, color="#777777", linewidth=1.0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))


def shortened(name: str, longest: int) -> str:
    """Return a name of so many letters at most."""
    return name if len(name) <= longest else f"{name[: longest - 3]}..."


def _largest(axes: Axes, count: int) -> tuple[list[Artist], list[str]]:
    """Return the first entries of a legend, which are those of the largest sources."""
    handles, labels = axes.get_legend_handles_labels()
    return handles[:count], labels[:count]


def save_runs_figure(validation: RunsValidation, path: Path) -> None:
    """Draw to ``path``, as its suffix says."""
    runs_figure(validation).savefig(path, dpi=150)
