"""Whole published sets against their targets, as a section of the accuracy report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from simdml.reporting.report import Block, Points, Section, Table, Topic, Words
from simdml.resources import data_dir
from simdml.validation.sets.definitions import Measure, Reason, Target
from simdml.validation.sets.definitions_file import read_definitions
from simdml.validation.sets.rows import KeptRow, read_rows
from simdml.validation.sets.verdicts import Group, ScoredSet, Verdict, floor, grouped, scored

TITLE: Final = "Whole published sets against their targets"
FOLDER: Final = "accuracy"
ROWS, DEFINITIONS = "rows.csv", "sets.yaml"
"""The files below ``reports/accuracy``."""

_TARGETS: Final = ("set", "target", "reached", "met", "rows", "predicted")
_ERRORS: Final = ("set", "mean", "median", "90th", "bias", "scatter", "worst row")
_GROUPS: Final = ("runs", "rows", "mean", "bias", "from", "to", "scatter", "floor", "reasons")
_NUMBERS: Final = frozenset({Measure.RANK_CORRELATION})
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


def sets_section() -> Section:
    """Return the section on the published sets, from what the last replay kept; raises DocumentError."""
    folder = data_dir("reports") / FOLDER
    definitions = read_definitions(folder / DEFINITIONS)
    rows = read_rows(folder / ROWS)
    return section([scored(each, rows) for each in definitions.sets], rows)


def section(sets: Sequence[ScoredSet], rows: Sequence[KeptRow]) -> Section:
    """Return the section on ``sets`` of ``rows``."""
    return Section(Topic.ERRORS, TITLE, tuple(_blocks(sets, rows)))


def _blocks(sets: Sequence[ScoredSet], rows: Sequence[KeptRow]) -> Iterator[Block]:
    targets = [verdict for each in sets for verdict in each.verdicts]
    met = sum(verdict.met for verdict in targets)
    tables, compared = len({row.table for row in rows}), sum(row.error is not None for row in rows)
    yield Words(
        (
            f"{len(rows):,} rows of {tables} published tables were replayed, {compared:,} of them compared. "
            f"{met} of {len(targets)} targets are met. No row of a set is left out for being wrong.",
        )
    )
    cells = tuple(_target_cells(each, verdict) for each in sets for verdict in each.verdicts)
    yield Table("Every target, and what was reached", _TARGETS, cells, text_columns=4)
    yield Table(
        "Errors of step time of every set; scatter is the mean that one factor for all its predictions would leave",
        _ERRORS,
        tuple(_error_cells(each) for each in sets if each.errors is not None),
        remark_columns=1,
    )
    for each in sets:
        if not each.met and each.published.table is not None:
            yield from _missed(each)
    yield Words((_how_read(),))


def _target_cells(each: ScoredSet, verdict: Verdict) -> tuple[str, ...]:
    told = _rows_told(verdict.target.measure, each.rows)
    return (
        each.published.name,
        f"{verdict.target.measure.value} {_range(verdict.target)}",
        "-" if verdict.value is None else _value(verdict.target.measure, verdict.value),
        "met" if verdict.met else "missed",
        str(len(each.rows)),
        str(told),
    )


def _rows_told(measure: Measure, rows: Sequence[KeptRow]) -> int:
    """Return how many rows a measure was taken of."""
    if measure is Measure.MEMORY_SIDE:
        return sum(row.ran is not None and row.fits is not None for row in rows)
    if measure is Measure.MEMORY_ERROR:
        return sum(row.memory_error is not None for row in rows)
    if measure in {Measure.INSIDE_50, Measure.INSIDE_90}:
        return sum(row.inside is not None for row in rows)
    return sum(row.error is not None for row in rows)


def _range(target: Target) -> str:
    low, high = (_value(target.measure, end, 0) for end in (target.at_least, target.at_most))
    if target.at_least == float("-inf"):
        return f"at most {high}"
    return f"at least {low}" if target.at_most == float("inf") else f"{low} to {high}"


def _value(measure: Measure, value: float, digits: int = 1) -> str:
    if measure in _NUMBERS:
        return f"{value:.2f}"
    return f"{100 * value:.{digits}f} %"


def _error_cells(each: ScoredSet) -> tuple[str, ...]:
    errors = each.errors
    assert errors is not None
    return (
        each.published.name,
        *(_percent(value) for value in (errors.mean, errors.median, errors.tail)),
        _signed(errors.bias),
        _percent(errors.scatter),
        f"{_signed(errors.worst.error or 0.0)} {errors.worst.row}",
    )


def _missed(each: ScoredSet) -> Iterator[Block]:
    """Yield what there is to say of a set that misses a target: its rows by group, reasons, and its own evidence."""
    letters = dict(zip(each.published.reasons, _LETTERS, strict=False))
    rows = tuple(_group_cells(each, group, letters) for group in each.groups)
    if rows:
        yield Table(f"{each.published.name}: rows by what was run", _GROUPS, rows, remark_columns=1)
    points = (*(f"{letters[reason]}: {reason.because}" for reason in letters), *evidence(each.rows))
    if points:
        yield Points(points)


def _group_cells(each: ScoredSet, group: Group, letters: dict[Reason, str]) -> tuple[str, ...]:
    errors, limit = group.errors, each.limit
    reasons = ", ".join(letters[reason] for reason in group.reasons)
    within = limit is not None and errors.mean <= limit
    return (
        group.name,
        str(errors.rows),
        _percent(errors.mean),
        *(_signed(value) for value in (errors.bias, errors.low, errors.high)),
        "-" if errors.rows == 1 else _percent(errors.scatter),
        "-" if group.floor is None else _percent(group.floor),
        "within" if within else reasons or "open",
    )


def evidence(rows: Sequence[KeptRow]) -> Iterator[str]:
    """Yield what the rows of a set say of their own certainty, each sentence with the numbers it rests on."""
    yield from _repeated(rows)
    yield from _lines(rows)
    yield from _unstated(rows)
    reasons = Counter(row.reason for row in rows if row.reason and row.measured_s)
    for reason, count in reasons.most_common(3):
        yield f"{count} measured rows have no prediction: {reason}."


def _repeated(rows: Sequence[KeptRow]) -> Iterator[str]:
    bound = floor(rows)
    if bound is not None:
        count, least = bound
        groups = {(row.table, row.alike) for row in rows if row.alike and row.measured_s}
        yield (
            f"{count} measured rows are of {len(groups)} scenarios that others share, as far as their columns say; no "
            f"prediction can be less than {_percent(least)} off on average there."
        )
    same = grouped(((row.table, row.repeats), row) for row in rows if row.repeats and row.measured_s)
    apart = [max(_times(members)) / min(_times(members)) - 1 for members in same.values() if len(members) > 1]
    if apart:
        yield (
            f"{sum(map(len, same.values()))} rows say the same in every column as {len(same)} groups, and differ by up "
            f"to {_percent(max(apart))} in time."
        )


def _times(rows: Sequence[KeptRow]) -> list[float]:
    return [row.measured_s for row in rows if row.measured_s]


def _lines(rows: Sequence[KeptRow]) -> Iterator[str]:
    straight = [row for row in rows if row.line]
    if straight:
        count = len({(row.table, row.line) for row in straight})
        yield (
            f"{len(straight)} of {len(rows)} rows lie on {count} straight lines in the number of layers, to a hundred "
            "thousandth: of the depths of such a line two at most were measured, and the others computed from them."
        )


def _unstated(rows: Sequence[KeptRow]) -> Iterator[str]:
    counts = Counter(column for row in rows for column in row.unstated)
    if counts:
        told = ", ".join(f"{column} ({count} of {len(rows)} rows)" for column, count in counts.most_common(6))
        yield f"Not printed beside the numbers, or assumed or recalled where the table says so: {told}."


def _how_read() -> str:
    return (
        "Scatter is the mean error that is left if all predictions of a group are multiplied by the one factor that "
        "suits it best: where it is small, one cost is too large or too small; where it is large, rows differ among "
        "each other by something that no common cost explains. The floor is the least mean error that any prediction "
        "could have on rows whose columns make the same scenario. 'within' marks groups whose mean error is not above "
        "the target, 'open' those whose error has no reason that was found. Reasons were looked for after the errors "
        "had been seen. The numbers are from reports/accuracy/rows.csv, which has every row; python "
        "reports/regenerate.py accuracy --sets DIR makes it again from a folder of the tables."
    )


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _signed(fraction: float) -> str:
    return f"{100 * fraction:+.1f} %"
