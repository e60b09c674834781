"""A plan as a picture: clusters by time against cost, or the layouts of one cluster by where their steps go.

Readable in black and white: kinds of cluster by the shape of their marks, the front by filled ones, targets by lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simdml.reporting.alternatives import accounts_figure
from simdml.reporting.saving import STYLE
from simdml.studies.plan.answer import alternatives, pareto, sums_of
from simdml.studies.plan.planning import Plan
from simdml.studies.plan.search import Found

_WIDTH, _HEIGHT = 10.0, 5.0
_INK: Final = "#1a1a1a"
_MARKS: Final = "osD^vP"
_TIMES: Final = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"), (1e-3, "ms"))
_SUMS: Final = ((1e6, "M USD"), (1e3, "k USD"), (1.0, "USD"), (1e-3, "USD / 1000"))


def plan_figure(plan: Plan) -> Figure:
    """Return bars of the best layouts of one cluster, or all clusters (or strategies) by time against cost."""
    shown = alternatives(plan)
    if len(plan.sites) == 1:
        return accounts_figure(
            [(str(found.candidate.choice), dict(found.outcome.account_s)) for found in shown], "a step"
        )
    on_front = pareto(plan)
    every = list({id(found): found for found in (*shown, *on_front)}.values())
    with rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        _draw(figure.subplots(), plan, every, on_front)
        return figure


def _draw(axes: Axes, plan: Plan, every: Sequence[Found], on_front: Sequence[Found]) -> None:
    priced = plan.sites[0].usd_per_s is not None
    time_s, time_unit = _unit([sums_of(plan, found).seconds for found in every], _TIMES)
    usd, money = _unit([sums_of(plan, found).usd or 0.0 for found in every], _SUMS) if priced else (1.0, "GPUs")

    def place(found: Found) -> tuple[float, float]:
        sums = sums_of(plan, found)
        return sums.seconds / time_s, (found.candidate.site.gpus if sums.usd is None else sums.usd / usd)

    axes.step(*zip(*map(place, on_front), strict=True), where="post", color=_INK, linewidth=1.0, zorder=1)
    kinds = list(dict.fromkeys(_kind(found) for found in every))
    filled = {id(found) for found in on_front}
    for number, kind in enumerate(kinds):
        for found in (found for found in every if _kind(found) == kind):
            color = _INK if id(found) in filled else "white"
            axes.scatter(*place(found), s=46, marker=_MARKS[number % len(_MARKS)], c=color, edgecolors=_INK, zorder=3)
        label: dict[str, Any] = {
            "marker": _MARKS[number % len(_MARKS)],
            "c": "white",
            "edgecolors": _INK,
            "label": kind,
        }
        axes.scatter([], [], s=46, **label)
    for found in every:
        axes.annotate(_label(plan, found), place(found), xytext=(7, 5), textcoords="offset points")
    if plan.best is not None:
        ring: dict[str, Any] = {"s": 260, "facecolors": "none", "edgecolors": _INK, "linewidths": 1.6, "zorder": 2}
        axes.scatter(*place(plan.best), label="chosen", **ring)
    _targets(axes, plan, time_s, usd)
    unit = "training" if plan.sites[0].steps != 1.0 else "a step"
    axes.set_xlabel(f"time of {unit}, {time_unit}")
    axes.set_ylabel(f"cost of {unit}, {money}" if priced else "GPUs")
    axes.margins(0.12)
    axes.legend(frameon=False, title="filled: no other is better in both")


def _targets(axes: Axes, plan: Plan, time_s: float, usd: float) -> None:
    if plan.goal.deadline_s is not None:
        at = plan.goal.deadline_s / time_s
        axes.axvline(at, color=_INK, linestyle="--", linewidth=0.8)
        axes.annotate(" deadline", (at, 1.0), xycoords=("data", "axes fraction"), va="top")
    if plan.goal.budget_usd is not None:
        at = plan.goal.budget_usd / usd
        axes.axhline(at, color=_INK, linestyle=":", linewidth=0.8)
        axes.annotate("budget ", (1.0, at), xycoords=("axes fraction", "data"), ha="right", va="bottom")


def _unit(values: Sequence[float], units: Sequence[tuple[float, str]]) -> tuple[float, str]:
    smallest = min(values)
    return next((unit for unit in units if smallest >= unit[0]), units[-1])


def _kind(found: Found) -> str:
    return found.candidate.site.label.rsplit(" x ", 1)[-1]


def _label(plan: Plan, found: Found) -> str:
    label = found.candidate.site.label
    nodes = f"{label.rsplit(' x ', 1)[0]} nodes" if " x " in label else label
    same = sum(other.candidate.site is found.candidate.site for other in alternatives(plan))
    return str(found.candidate.choice) if same > 1 else nodes
