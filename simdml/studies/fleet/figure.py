"""A picture of a fleet: how long jobs wait, and what more nodes change."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from simdml.reporting.saving import STYLE
from simdml.studies.fleet.fleet import Fleet, Goal, QueueStudy, SharingStudy

_SIZE: Final = (10.0, 4.2)
_LINES: Final = ("-", "--", ":", "-.")
_COLORS: Final = ("#0a5c9c", "#c44e00", "#00805e", "#8c2d62", "#f0b429", "#5c5c5c")
_HOUR_S: Final = 3600.0
_POINTS: Final = 400


def fleet_figure(found: Fleet) -> Figure:
    """Return a figure: how long jobs wait, the wait by the number of nodes, steps beside other jobs."""
    panels: list[Callable[[Axes], None]] = []
    if found.queue is not None:
        panels.append(partial(_waits, found=found.queue))
        if found.queue.goal is not None:
            panels.append(partial(_goal, goal=found.queue.goal))
    if found.sharing is not None:
        panels.append(partial(_steps, found=found.sharing))
    with rc_context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        for axes, draw in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            draw(axes)
        figure.suptitle(f"{found.name}: several jobs on one cluster", x=0.01, ha="left", fontsize=11)
        return figure


def goal_figure(goal: Goal) -> Figure:
    """Return a figure of the wait by the number of nodes."""
    with rc_context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        _goal(figure.subplots(), goal)
        return figure


def steps_figure(found: SharingStudy) -> Figure:
    """Return a figure of steps beside other jobs."""
    with rc_context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        _steps(figure.subplots(), found)
        return figure


def _steps(axes: Axes, found: SharingStudy) -> None:
    rows = range(len(found.steps))
    slowdowns = [each.slowdown for each in found.steps]
    below = [each.slowdown - each.fastest_s / each.alone_s for each in found.steps]
    above = [each.slowest_s / each.alone_s - each.slowdown for each in found.steps]
    axes.barh(rows, slowdowns, xerr=(below, above), color="#56b4e9", edgecolor="#0a5c9c", capsize=4)
    axes.axvline(1.0, color="#333333", linewidth=0.8)
    axes.set_yticks(rows, [f"{each.name}, {each.num_gpus:,} GPUs" for each in found.steps])
    axes.set_ylim(len(found.steps) - 0.4, -0.6)
    axes.set_xlabel("step time over that alone; best and worst phase")
    axes.set_title(f"Beside each other, {found.layout}")


def _waits(axes: Axes, found: QueueStudy) -> None:
    shares = np.linspace(0.0, 0.99, _POINTS)
    for index, kind in enumerate(found.waits.kinds):
        waits = [
            wait
            for run in found.waits.runs
            for job, wait in zip(run.jobs, run.wait_s.tolist(), strict=True)
            if job.kind == kind
        ]
        hours = np.quantile(waits, shares) / _HOUR_S
        style, color = _LINES[index % len(_LINES)], _COLORS[index % len(_COLORS)]
        axes.plot(hours, 100 * shares, linestyle=style, color=color, linewidth=1.6, label=kind)
    axes.set_ylim(0, 100)
    axes.set_xlim(left=0)
    axes.set_xlabel("wait (hours), up to that of 99 % of the jobs")
    axes.set_ylabel("jobs that wait no longer (%)")
    axes.set_title(f"{found.waits.queue.num_nodes:,} nodes, {found.waits.queue.policy.replace('_', ' ')}")
    axes.legend(frameon=False, loc="lower right")


def _goal(axes: Axes, goal: Goal) -> None:
    nodes = [each.nodes for each in goal.tried]
    waits = [each.wait.mean / _HOUR_S for each in goal.tried]
    errors = [each.wait.half_width / _HOUR_S for each in goal.tried]
    axes.errorbar(nodes, waits, yerr=errors, marker="o", markersize=4, color="#0a5c9c", linewidth=1.2, capsize=3)
    axes.axhline(goal.wait_s / _HOUR_S, color="#c44e00", linestyle="--", label="asked for")
    axes.axvline(goal.nodes, color="#333333", linestyle=":", label=f"{goal.nodes:,} nodes are enough")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("nodes")
    axes.set_ylabel(f"wait of {100 * goal.share:.3g} % of the jobs (hours)")
    axes.set_title("What more nodes change")
    axes.legend(frameon=False)
