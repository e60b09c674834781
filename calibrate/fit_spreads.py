"""Fit the spreads of whole steps, from which intervals of predictions are made, to tables of measured runs.

    python calibrate/fit_spreads.py [TABLE ...] [--rows N] [--keep FOLDER] [--write]

Replays the tables (the bundled ones by default), fits, and prints the spreads and how many rows of every source lie in
their intervals if the source itself is left out of the fit; with ``--write`` replaces
``calibrate/spreads/published_runs.yaml``. ``--rows`` takes so many rows of every table, evenly
spread, instead of all; ``--keep`` keeps finished rows in FOLDER, so that a fit that was stopped goes
on where it was. A source that is left out is left out of all that is fitted, the tail too, so that there are as many
fits as sources: that takes longer than the fit itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from math import log
from pathlib import Path

from simdml.calibration.spreads import DEFAULT
from simdml.resources import data_dir
from simdml.validation.runs.omitted import completed
from simdml.validation.runs.reading import Row, Unusable, read_table
from simdml.validation.runs.replay import Replayed, replay_rows, scenario_of
from simdml.validation.runs.spread_fit import Observation, fit_spreads, leave_one_out
from simdml.validation.runs.spread_text import left_out_lines, spread_lines, spreads_text
from simdml.validation.runs.study import bundled_tables


def replayed(tables: Iterable[Path], most: int | None, processes: int | None, folder: Path | None) -> list[Replayed]:
    """Return the rows of ``tables`` that were measured, at most so many of each, replayed."""
    chosen: list[Row] = []
    for path in tables:
        rows = [row for row in map(completed, read_table(path).rows) if row.measured_s and simulated(row)]
        count = min(most or len(rows), len(rows))
        chosen += [rows[number * len(rows) // count] for number in range(count)]
    return replay_rows(chosen, processes=processes, folder=folder)


def simulated(row: Row) -> bool:
    """Return whether a row says enough to be simulated."""
    try:
        scenario_of(row)
    except Unusable:
        return False
    return True


def observations(rows: Iterable[Replayed]) -> list[Observation]:
    """Return the rows that have both a measured step and a prediction."""
    return [
        Observation(_source(each.row), log(each.row.measured_s / each.replay.predicted_s), each.replay.basis)
        for each in rows
        if each.row.family != "collective" and each.row.measured_s and each.replay.predicted_s and each.replay.basis
    ]


def _source(row: Row) -> str:
    """Return what a row is alike with: its source, or its table, where sources are the places of single rows."""
    return row.source if Path(row.file) in bundled_tables() else Path(row.file).stem


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit and print, and write the file if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", type=Path)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--processes", type=int)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args(arguments)
    tables = asked.tables or bundled_tables()
    rows = observations(replayed(tables, asked.rows, asked.processes, asked.keep))
    fit = fit_spreads(rows)
    print("\n".join(spread_lines(fit)))
    print("\n".join(left_out_lines(leave_one_out(rows))))
    if asked.write:
        target = data_dir("calibrate") / f"{DEFAULT}.yaml"
        target.write_text(spreads_text(fit, rows, str(datetime.now(UTC).date())), encoding="utf-8")
        print(f"wrote {target}")


if __name__ == "__main__":
    main()
