"""A comparison as rows of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from simdml.engine.clock import seconds
from simdml.studies.compare.comparison import Comparison, Difference
from simdml.studies.compare.outputs import OutputChange
from simdml.units import format_time

CAUSES_SHOWN: Final = 12
_BAR_WIDTH: Final = 20
_NONE: Final = "-"


def input_rows(comparison: Comparison) -> list[list[str]]:
    """Return key and value in every scenario, of keys that differ in any of them."""
    keys = dict.fromkeys(change.key for other in comparison.others for change in other.inputs)
    rows = []
    for key in keys:
        found = [{change.key: change for change in other.inputs}.get(key) for other in comparison.others]
        before = next(change.before for change in found if change is not None)
        rows.append([key, before or _NONE, *((before if c is None else c.after) or _NONE for c in found)])
    return rows


def output_rows(comparison: Comparison) -> list[list[str]]:
    """Return name and value in every scenario, each with its change from the reference."""
    changes: dict[str, list[OutputChange | None]] = {}
    for number, other in enumerate(comparison.others):
        for change in other.outputs:
            changes.setdefault(change.output.title, [None] * len(comparison.others))[number] = change
    return [_output_row(title, row) for title, row in changes.items()]


def _output_row(title: str, changes: Sequence[OutputChange | None]) -> list[str]:
    first = next(change for change in changes if change is not None)
    before = _NONE if first.before is None else first.output.show(first.before)
    return [title, before, *(_NONE if change is None else _changed(change) for change in changes)]


def _changed(change: OutputChange) -> str:
    if change.after is None:
        return _NONE
    text = change.output.show(change.after)
    return text if change.ratio in (None, 1.0) else f"{text} ({percent(change.ratio or 0.0)})"


def percent(ratio: float) -> str:
    """Return what a ratio adds, as "+12.3 %"; beyond three times, as "4.1 x"."""
    return f"{ratio:.3g} x" if ratio >= 3 else f"{100 * (ratio - 1):+.1f} %"


def waterfall_rows(difference: Difference) -> list[list[str]]:
    """Return account, seconds in both, difference and a bar: from the step of the reference to the other's."""
    fall = difference.waterfall
    largest = max((abs(cause.ticks) for cause in fall.causes), default=1)
    rows = [
        [
            cause.account,
            format_time(seconds(cause.before)) if cause.before else _NONE,
            format_time(seconds(cause.after)) if cause.after else _NONE,
            signed(cause.seconds),
            _bar(cause.ticks / largest),
        ]
        for cause in fall.causes[:CAUSES_SHOWN]
    ]
    if rest := fall.causes[CAUSES_SHOWN:]:
        total = sum(cause.ticks for cause in rest)
        rows.append([f"{len(rest)} more", "", "", signed(seconds(total)), _bar(total / largest)])
    return [
        *rows,
        ["step", format_time(seconds(fall.before)), format_time(seconds(fall.after)), _total(fall.ticks), ""],
    ]


def signed(difference_s: float) -> str:
    """Return a difference as "+12 ms"."""
    return f"{'+' if difference_s >= 0 else '-'}{format_time(abs(difference_s))}"


def _total(ticks: int) -> str:
    return signed(seconds(ticks)) if ticks else "no difference"


def _bar(share: float) -> str:
    return ("+" if share > 0 else "-") * max(1, round(abs(share) * _BAR_WIDTH))
