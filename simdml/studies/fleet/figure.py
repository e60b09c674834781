"""A picture of a fleet: how long jobs wait, and what more nodes change."""

from __future__ import annotations

from typing import Final

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from simdml.errors import InfeasibleError
from simdml.reporting.saving import STYLE
from simdml.studies.fleet.fleet import Fleet, Goal, QueueStudy

_SIZE: Final = (10.0, 4.2)
_LINES: Final = ("-", "--", ":", "-.")
_COLORS: Final = ("#0a5c9c", "#c44e00", "#00805e", "#8c2d62", "#f0b429", "#5c5c5c")
_HOUR_S: Final = 3600.0
_POINTS: Final = 400


def fleet_figure(found: Fleet) -> Figure:
    """Return a figure of the queue: the share of jobs by how long they wait, and the wait by the number of nodes.

    Raises:
        InfeasibleError: the fleet has no queue.
    """
    if found.queue is None:
        raise InfeasibleError("there is no queue to draw", hint="add queue: to the fleet section")
    with rc_context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        goal = found.queue.goal
        axes = figure.subplots(1, 2, squeeze=False)[0] if goal is not None else [figure.subplots()]
        _waits(axes[0], found.queue)
        if goal is not None:
            _goal(axes[1], goal)
        figure.suptitle(f"{found.name}: jobs that wait for GPUs", x=0.01, ha="left", fontsize=11)
        return figure


def goal_figure(goal: Goal) -> Figure:
    """Return a figure of the wait by the number of nodes."""
    with rc_context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        _goal(figure.subplots(), goal)
        return figure


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
