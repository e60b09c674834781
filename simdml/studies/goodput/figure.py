"""A picture of goodput: when training ends in how many runs, and what is lost to which cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, Final

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simdml.reporting.saving import STYLE
from simdml.studies.goodput.goodput import Goodput
from simdml.studies.goodput.timeline import LOSSES

_SIZE: Final = (10.0, 4.2)
_CAUSES: Final = 10
_LOOKS: Final = (("#0a5c9c", ""), ("#f0b429", "////"), ("#d4d4d4", ""), ("#e07b39", "xxxx"))
_HOUR_S: Final = 3600.0
_DAY_S: Final = 86_400.0
_BINS: Final = 30


def goodput_figure(found: Goodput) -> Figure:
    """Return a figure: the distribution of the end of training, or of effective time, and losses by cause."""
    with rc_context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        left, right = figure.subplots(1, 2)
        _distribution(left, found)
        _losses(right, found.causes, found.account_s)
        figure.suptitle(f"{found.name}: training with failures", x=0.01, ha="left", fontsize=11)
        return figure


def _distribution(axes: Axes, found: Goodput) -> None:
    ends = found.planned.campaign.work_s != inf
    spread = found.wall_s if ends else found.effective
    scale = 1 / _DAY_S if ends else 100.0
    values = scale * (found.runs.wall_s if ends else found.runs.productive_s / found.runs.wall_s)
    bins: Any = _BINS if np.ptp(values) > 0 else 1
    axes.hist(values, bins=bins, color="#56b4e9", edgecolor="white", linewidth=0.5)
    for position, style, name in ((0, ":", "5 and 95 %"), (2, "-", "median"), (4, ":", None)):
        axes.axvline(scale * spread.quantiles[position], color="#333333", linestyle=style, linewidth=1.2, label=name)
    if found.finish_within_s is not None:
        axes.axvline(scale * found.finish_within_s, color="#c44e00", linestyle="--", linewidth=1.4, label="asked for")
    axes.set_xlabel("days until training ends" if ends else "effective time (% of wall time)")
    axes.set_ylabel(f"runs of {len(values):,}")
    axes.set_title("When it ends" if ends else "How much of the time is training")
    axes.legend(frameon=False)


Cause = tuple[str, float, Mapping[str, float]]
"""A cause, its interruptions of a run, and the seconds lost to it by kind."""


def losses_figure(causes: Sequence[Cause], account_s: Mapping[str, float]) -> Figure:
    """Return a figure with what is lost to each cause of a run whose time goes where ``account_s`` says."""
    with rc_context(STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        _losses(figure.subplots(), causes, account_s)
        return figure


def _losses(axes: Axes, every: Sequence[Cause], account: Mapping[str, float]) -> None:
    causes = [cause for cause in every if sum(cause[2].values()) > 0][:_CAUSES]
    names = [cause for cause, _, _ in causes]
    lost = {kind: [each[kind] / _HOUR_S for _, _, each in causes] for kind in LOSSES}
    beside = [kind for kind in ("checkpoints", "slow nodes") if account[kind] > 0]
    names += beside
    offset = np.zeros(len(causes))
    for kind, (color, hatch) in zip(LOSSES, _LOOKS, strict=True):
        if any(lost[kind]):
            look: dict[str, Any] = {"color": color, "hatch": hatch, "edgecolor": "white", "linewidth": 0.5}
            axes.barh(range(len(causes)), lost[kind], left=offset, label=kind, **look)
            offset += np.array(lost[kind])
    for row, kind in enumerate(beside, start=len(causes)):
        label = "while it trains" if row == len(causes) else None
        axes.barh(row, account[kind] / _HOUR_S, color="#a8587f", edgecolor="white", label=label)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("hours lost in a run, on average")
    axes.set_title("What is lost")
    axes.legend(frameon=False)
