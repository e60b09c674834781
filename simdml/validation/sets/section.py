"""Whole published sets against their targets, as sections of the accuracy report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from simdml.reporting.report import Block, Points, Section, Topic, Words
from simdml.resources import data_dir
from simdml.validation.sets.certainty import evidence, fitted_sentences
from simdml.validation.sets.definitions import Measure
from simdml.validation.sets.definitions_file import read_definitions
from simdml.validation.sets.rows import KeptRow, read_rows
from simdml.validation.sets.tables import (
    errors_table,
    groups_table,
    intervals_table,
    layouts_table,
    letters,
    memory_table,
    targets_table,
)
from simdml.validation.sets.verdicts import ScoredSet, scored

TITLE: Final = "Whole published sets against their targets"
FOLDER: Final = "accuracy"
ROWS, DEFINITIONS = "rows.csv", "sets.yaml"
"""The files below ``reports/accuracy``."""

_ON_LAYOUTS: Final = frozenset({Measure.MEAN_REGRET, Measure.RANK_CORRELATION})


def sets_sections() -> tuple[Section, ...]:
    """Return the sections on the published sets, from what the last replay kept; raises DocumentError."""
    folder = data_dir("reports") / FOLDER
    definitions = read_definitions(folder / DEFINITIONS)
    rows = read_rows(folder / ROWS)
    return sections([scored(each, rows) for each in definitions.sets], rows)


def sections(sets: Sequence[ScoredSet], rows: Sequence[KeptRow]) -> tuple[Section, ...]:
    """Return a section on all ``sets`` of ``rows``, and one on each that misses a target."""
    missed = [each for each in sets if not each.met]
    return (
        Section(Topic.ERRORS, TITLE, tuple(_blocks(sets, rows))),
        *(Section(Topic.ERRORS, f"Missed: {each.published.name}", tuple(_missed(each))) for each in missed),
    )


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
    yield targets_table(sets)
    yield errors_table(sets)
    yield Words((_how_read(),))
    used = [sentence for each in sets for sentence in fitted_sentences(each)]
    if used:
        yield Words(("Rows that something was fitted to, and what is left without them:",))
        yield Points(tuple(used))
    yield intervals_table(rows)
    yield memory_table(rows)


def _missed(each: ScoredSet) -> Iterator[Block]:
    """Yield what there is to say of a set that misses a target: its rows by group, reasons, and its own evidence."""
    missed = {verdict.target.measure for verdict in each.verdicts if not verdict.met}
    if each.off:
        yield groups_table(each)
    if missed & _ON_LAYOUTS:
        yield layouts_table(each)
    points = [f"{letter}: {reason.because}" for reason, letter in letters(each).items()]
    points += [reason.because for reason in each.published.reasons if not reason.groups]
    # What all rows have in common is told of each of their tables.
    points += evidence(each.rows) if each.published.table is not None else ()
    if points:
        yield Points(tuple(points))


def _how_read() -> str:
    return (
        "Scatter is the mean error that is left if all predictions of a set or group are multiplied by the one factor "
        "that suits it best: where it is small, one cost is too large or too small; where it is large, rows differ "
        "among each other by something that no common cost explains. The floor is the least mean error that any "
        "prediction could have on rows whose columns make the same scenario. Every set that misses a target has a "
        "section, with its rows by group and letters for the reasons that follow; 'open' marks groups without one that "
        "was found. Reasons were looked for after the errors had been seen. Every row is in reports/accuracy/rows.csv; "
        "python reports/regenerate.py accuracy --sets DIR makes it again from a folder of the tables."
    )
