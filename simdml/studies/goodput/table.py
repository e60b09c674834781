"""Goodput as text for people."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Final

from simdml.studies.goodput.goodput import Goodput
from simdml.studies.goodput.intervals import daly, optimal, young
from simdml.studies.goodput.timeline import LOSSES
from simdml.units import format_bytes, format_time

ACCOUNT_COLUMNS: Final = ("where the time goes", "mean", "share")
CAUSE_COLUMNS: Final = ("cause", "interruptions", *LOSSES)
CAUSES_SHOWN: Final = 8


def headline(found: Goodput) -> list[tuple[str, str]]:
    """Return the answer first, then what it rests on."""
    return [*_answer(found), *_basis(found)]


def _answer(found: Goodput) -> Iterator[tuple[str, str]]:
    effective, interruptions = found.effective, found.interruptions
    if found.closed_form_wall_s is not None:
        wall = found.wall_s
        yield "training takes", f"{format_time(wall.median)}, 90 % of runs {_range(wall.quantiles, format_time)}"
        yield "mean", f"{format_time(wall.mean)} +- {format_time(wall.half_width)} (95 % confidence)"
        yield "closed form (Daly)", f"{format_time(found.closed_form_wall_s)}, with failures alone"
        if found.start is not None:
            ends = [str(found.end_date(wall.quantiles[index])) for index in (0, 2, 4)]
            yield "it ends", f"{ends[1]}, 90 % of runs from {ends[0]} to {ends[2]}"
        if found.in_time is not None:
            yield f"within {format_time(found.finish_within_s or 0.0)}", f"{percent(found.in_time)} of runs"
    yield "effective time", f"{percent(effective.mean)}, 90 % of runs {_range(effective.quantiles, percent)}"
    yield "interruptions", f"{interruptions.mean:,.1f}, 90 % of runs {_range(interruptions.quantiles, _whole)}"


def _basis(found: Goodput) -> Iterator[tuple[str, str]]:
    planned, checkpoints = found.planned, found.planned.campaign.checkpoints
    yield "GPUs, step", f"{found.num_gpus:,}, {format_time(planned.step_time_s)}"
    yield "failures", f"one in {format_time(planned.campaign.mtbf_s)} on average; {planned.source}"
    yield "checkpoint", f"{format_bytes(planned.size.total_bytes)} every {_every(found)}"
    beside = f", then {format_time(checkpoints.write_s)} beside training" if checkpoints.write_s else ""
    if checkpoints.stall_s and planned.campaign.mtbf_s != inf:
        stall_s, mtbf_s = checkpoints.stall_s, planned.campaign.mtbf_s
        best = optimal(stall_s, mtbf_s)
        formulas = f"{format_time(young(stall_s, mtbf_s))} by Young, {format_time(daly(stall_s, mtbf_s))} by Daly"
        yield "least is lost at", f"{format_time(best)} of training between two; {formulas}"
    yield "it takes", f"{format_time(checkpoints.stall_s)}{beside}; {format_time(checkpoints.load_s)} to load"
    yield "runs", f"{len(found.runs.wall_s):,}, seed {found.seed}"


def _every(found: Goodput) -> str:
    return f"{format_time(found.planned.campaign.checkpoints.interval_s)} ({found.planned.interval_steps:,} steps)"


def account_rows(found: Goodput) -> list[tuple[str, str, str]]:
    """Return a row for everything that takes time."""
    wall_s = found.wall_s.mean
    return [
        (name, format_time(seconds), percent(seconds / wall_s))
        for name, seconds in found.account_s.items()
        if seconds > 0
    ]


def cause_rows(found: Goodput) -> list[tuple[str, ...]]:
    """Return a row for the causes that cost most, and one for all others."""
    causes = [cause for cause in found.causes if cause[1]]
    shown, others = causes[:CAUSES_SHOWN], causes[CAUSES_SHOWN:]
    if len(others) == 1:
        shown, others = causes, []
    rows = list(shown)
    if others:
        lost = {kind: sum(other[2][kind] for other in others) for kind in LOSSES}
        rows.append((f"{len(others)} others", sum(other[1] for other in others), lost))
    return [(name, f"{count:,.1f}", *(_time(lost[kind]) for kind in LOSSES)) for name, count, lost in rows]


def percent(share: float) -> str:
    """Return a share with one digit."""
    return f"{100 * share:.1f} %"


def _time(seconds: float) -> str:
    return format_time(seconds) if seconds > 0 else "-"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _range(quantiles: tuple[float, ...], show: object) -> str:
    assert callable(show)
    return f"{show(quantiles[0])} to {show(quantiles[-1])}"
