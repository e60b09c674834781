"""Errors by what a run is on, and how jobs scale, as pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from simdml.validation.runs.figures import error_boxes, shortened
from simdml.validation.runs.scaling import ScalingGroup
from simdml.validation.runs.scores import GROUPINGS
from simdml.validation.runs.study import RunsValidation

_BLUE, _ORANGE = "#0a5c9c", "#c44e00"
_SHOWN: Final = ("GPU", "strategy", "GPUs")
_MOST_GROUPS, _LONGEST = 12, 30
PANELS, OF_A_SOURCE, COLUMNS = 12, 2, 4
"""Groups whose scaling is drawn at most, of all and of a source, and how many beside each other."""


def groups_figure(validation: RunsValidation) -> Figure:
    """Return the spread of errors by GPU, strategy and number of GPUs, of the groups with the most rows."""
    figure = Figure(figsize=(11.0, 5.2), layout="constrained")
    for axes, grouping in zip(figure.subplots(1, len(_SHOWN)), _SHOWN, strict=True):
        _spread(axes, validation, grouping)
    return figure


def widest(groups: Sequence[ScalingGroup]) -> list[ScalingGroup]:
    """Return the first groups, a few of every source."""
    seen: Counter[str] = Counter()
    found = []
    for group in groups:
        seen[group.source] += 1
        if seen[group.source] <= OF_A_SOURCE:
            found.append(group)
    return found[:PANELS]


def _spread(axes: Axes, validation: RunsValidation, grouping: str) -> None:
    errors: dict[str, list[float]] = {}
    for each in validation.rows:
        if each.error is not None:
            errors.setdefault(GROUPINGS[grouping](each.row), []).append(each.error)
    names = sorted(errors, key=lambda name: (-len(errors[name]), name))[:_MOST_GROUPS]
    error_boxes(axes, {name: errors[name] for name in names}, _LONGEST)
    axes.set_title(f"by {grouping}", fontsize=9)
    axes.set_xlabel("error of step time", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)


def scaling_figure(groups: Sequence[ScalingGroup]) -> Figure:
    """Return samples a second of one GPU over the number of GPUs, measured and predicted, a panel a group."""
    shown = widest(groups)
    rows = max(1, ceil(len(shown) / COLUMNS))
    figure = Figure(figsize=(11.0, 2.5 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).flat
    for axes in panels:
        axes.set_visible(False)
    for axes, group in zip(figure.axes, shown, strict=False):
        axes.set_visible(True)
        _scaling(axes, group)
    if shown:
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False)
    figure.supxlabel("GPUs", fontsize=8)
    figure.supylabel("samples a second of one GPU", fontsize=8)
    return figure


def _scaling(axes: Axes, group: ScalingGroup) -> None:
    gpus = [point.gpus for point in group.points]
    axes.plot(gpus, [point.measured for point in group.points], "o-", color=_BLUE, markersize=4, label="measured")
    predicted = [point.predicted for point in group.points]
    axes.plot(gpus, predicted, "s--", color=_ORANGE, markersize=4, markerfacecolor="none", label="predicted")
    axes.set_xscale("log", base=2)
    axes.set_ylim(0.0, 1.15 * max(max(point.measured, point.predicted) for point in group.points))
    axes.set_xticks(gpus if len(gpus) <= 6 else gpus[:: ceil(len(gpus) / 6)])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(labelsize=7)
    kind = "batch grows" if group.weak else "same batch"
    title = (f"{shortened(group.model, 30)}, {kind}", shortened(group.gpu, 36), shortened(group.source, 36))
    axes.set_title("\n".join(title), fontsize=7)
