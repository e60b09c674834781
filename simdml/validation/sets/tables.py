"""Tables on published sets: targets, errors, groups of rows with reasons, layouts, memory and intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Final

from simdml.reporting.report import Table
from simdml.validation.runs.ranking import spearman
from simdml.validation.sets.definitions import Measure, Reason, Target
from simdml.validation.sets.rows import KeptRow
from simdml.validation.sets.verdicts import (
    MEASURES,
    Errors,
    Group,
    ScoredSet,
    Verdict,
    errors_of,
    grouped,
    layout_groups,
    regret,
)

LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
LAYOUTS_SHOWN: Final = 12
_TARGETS: Final = ("set", "target", "reached", "met", "rows", "predicted")
_ERRORS: Final = ("set", "mean", "median", "90th", "bias", "scatter", "worst row")
_GROUPS: Final = ("runs", "rows", "mean", "bias", "from", "to", "scatter", "floor", "reasons")
_LAYOUTS: Final = ("runs", "layouts", "regret", "rank correlation", "chosen", "fastest")
_INTERVALS: Final = ("table", "rows", "in the 50 % interval", "in the 90 %")
_MEMORY: Final = ("table", "rows", "median error", "bias")
_NUMBERS: Final = frozenset({Measure.RANK_CORRELATION})


def letters(each: ScoredSet) -> dict[Reason, str]:
    """Return the letter that stands for each reason of a set's groups that are off; remarks on all of it have none."""
    told = {reason for group in each.off for reason in group.reasons}
    return dict(zip((reason for reason in each.published.reasons if reason in told), LETTERS, strict=False))


def targets_table(sets: Sequence[ScoredSet]) -> Table:
    """Return every target of ``sets`` and what was reached."""
    cells = tuple(_target_cells(each, verdict) for each in sets for verdict in each.verdicts)
    return Table("Every target, and what was reached", _TARGETS, cells, text_columns=4)


def errors_table(sets: Sequence[ScoredSet]) -> Table:
    """Return the errors of step time of every set that has any."""
    rows = tuple(_error_cells(each.published.name, each.errors) for each in sets if each.errors is not None)
    return Table("Errors of step time of every set", _ERRORS, rows, remark_columns=1)


def groups_table(each: ScoredSet) -> Table:
    """Return the groups of a set that are off by more than its target, and all others together."""
    named = letters(each)
    rows = [_group_cells(group, named) for group in each.off]
    inside = {group.name for group in each.groups} - {group.name for group in each.off}
    rest = errors_of(row for row in each.rows if row.group in inside)
    if rest is not None:
        rows.append((f"all others ({len(inside)}), within the target", *_numbers(rest), "-", "-"))
    return Table(f"{each.published.name}: rows by what was run", _GROUPS, tuple(rows), remark_columns=1)


def layouts_table(each: ScoredSet) -> Table:
    """Return the groups of layouts of a set whose choice costs most."""
    groups = sorted(layout_groups(each.rows), key=lambda members: -regret(members))
    shown = tuple(map(_layout_cells, groups[:LAYOUTS_SHOWN]))
    caption = (
        f"{each.published.name}: what simdml's choice of a layout costs, the {len(shown)} largest of {len(groups)} "
        f"groups; in {sum(regret(members) == 0 for members in groups)} it is the fastest one"
    )
    return Table(caption, _LAYOUTS, shown, remark_columns=2)


def intervals_table(rows: Sequence[KeptRow]) -> Table:
    """Return how many measured steps of every table lie in the intervals of their predictions."""
    found = [
        (table, len(told), *(_value(measure, MEASURES[measure](told) or 0.0, 0) for measure in _LEVELS))
        for table, told in _by_table(row for row in rows if row.inside is not None)
    ]
    return Table("Inside intervals by table", _INTERVALS, tuple(tuple(map(str, cells)) for cells in found))


_LEVELS: Final = (Measure.INSIDE_50, Measure.INSIDE_90)


def memory_table(rows: Sequence[KeptRow]) -> Table:
    """Return errors of peak memory of every table that states it."""
    cells = []
    for table, told in _by_table(row for row in rows if row.memory_error is not None):
        errors = [row.memory_error or 0.0 for row in told]
        cells.append((table, str(len(told)), percent(median(map(abs, errors))), signed(median(errors))))
    return Table("Errors of peak memory by table", _MEMORY, tuple(cells))


def _by_table(rows: Iterable[KeptRow]) -> list[tuple[str, list[KeptRow]]]:
    return list(grouped((row.table, row) for row in rows).items())


def _target_cells(each: ScoredSet, verdict: Verdict) -> tuple[str, ...]:
    measure = verdict.target.measure
    return (
        each.published.name,
        f"{measure.value} {_range(verdict.target)}",
        "-" if verdict.value is None else _value(measure, verdict.value),
        "met" if verdict.met else "missed",
        str(len(each.rows)),
        str(sum(map(_TOLD.get(measure, _compared), each.rows))),
    )


def _compared(row: KeptRow) -> bool:
    return row.error is not None


_TOLD: Final = {
    Measure.MEMORY_SIDE: lambda row: row.ran is not None and row.fits is not None,
    Measure.MEMORY_ERROR: lambda row: row.memory_error is not None,
    Measure.INSIDE_50: lambda row: row.inside is not None,
    Measure.INSIDE_90: lambda row: row.inside is not None,
}
"""Which rows a measure is taken of, where that is not the compared ones."""


def _range(target: Target) -> str:
    low, high = (_value(target.measure, end, 0) for end in (target.at_least, target.at_most))
    if target.at_least == float("-inf"):
        return f"at most {high}"
    return f"at least {low}" if target.at_most == float("inf") else f"{low} to {high}"


def _value(measure: Measure, value: float, digits: int = 1) -> str:
    return f"{value:.2f}" if measure in _NUMBERS else f"{100 * value:.{digits}f} %"


def _error_cells(name: str, errors: Errors) -> tuple[str, ...]:
    return (
        name,
        *(percent(value) for value in (errors.mean, errors.median, errors.tail)),
        signed(errors.bias),
        percent(errors.scatter),
        f"{signed(errors.worst.error or 0.0)} {errors.worst.row}",
    )


def _group_cells(group: Group, named: Mapping[Reason, str]) -> tuple[str, ...]:
    reasons = ", ".join(named[reason] for reason in group.reasons if reason in named)
    return (
        group.name,
        *_numbers(group.errors),
        "-" if group.floor is None else percent(group.floor),
        reasons or "open",
    )


def _numbers(errors: Errors) -> tuple[str, ...]:
    return (
        str(errors.rows),
        percent(errors.mean),
        *(signed(value) for value in (errors.bias, errors.low, errors.high)),
        "-" if errors.rows == 1 else percent(errors.scatter),
    )


def _layout_cells(members: Sequence[KeptRow]) -> tuple[str, ...]:
    measured, predicted = ([getattr(row, name) for row in members] for name in ("measured_s", "predicted_s"))
    chosen, fastest = (members[times.index(min(times))] for times in (predicted, measured))
    return (
        fastest.group,
        str(len(members)),
        percent(regret(members)),
        f"{spearman(measured, predicted):.2f}",
        chosen.row,
        fastest.row,
    )


def percent(fraction: float) -> str:
    """Return a percentage."""
    return f"{100 * fraction:.1f} %"


def signed(fraction: float) -> str:
    """Return a percentage with its sign."""
    return f"{100 * fraction:+.1f} %"
