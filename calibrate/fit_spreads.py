"""Fit the spreads of whole steps, from which intervals of predictions are made, to tables of measured runs.

    python calibrate/fit_spreads.py [TABLE ...] [--keep FOLDER] [--write]

Replays the tables (the bundled ones by default), fits, and prints the spreads and how many rows of every source lie in
their intervals if the source itself is left out of the fit; with ``--write`` replaces
``calibrate/spreads/published_runs.yaml``. ``--keep`` keeps finished rows in FOLDER, so that a fit that was stopped goes
on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from math import log
from pathlib import Path

from simdml.calibration.spreads import DEFAULT
from simdml.resources import data_dir
from simdml.validation.runs.reading import Row
from simdml.validation.runs.spread_fit import Observation, fit_spreads, leave_one_out
from simdml.validation.runs.spread_text import left_out_lines, spread_lines, spreads_text
from simdml.validation.runs.study import RunsValidation, bundled_tables, validate_runs


def observations(validation: RunsValidation) -> list[Observation]:
    """Return the rows that have both a measured step and a prediction."""
    return [
        Observation(_source(each.row), log(each.row.measured_s / each.replay.predicted_s), each.replay.basis)
        for each in validation.rows
        if each.row.measured_s and each.replay.predicted_s and each.replay.basis
    ]


def _source(row: Row) -> str:
    """Return what a row is alike with: its source, or its table, where sources are the places of single rows."""
    return row.source if Path(row.file) in bundled_tables() else Path(row.file).stem


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit and print, and write the file if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", type=Path)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--processes", type=int)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args(arguments)
    tables = asked.tables or bundled_tables()
    rows = observations(validate_runs(tables, processes=asked.processes, folder=asked.keep))
    fit = fit_spreads(rows)
    print("\n".join(spread_lines(fit)))
    print("\n".join(left_out_lines(leave_one_out(rows, fit))))
    if asked.write:
        target = data_dir("calibrate") / f"{DEFAULT}.yaml"
        target.write_text(spreads_text(fit, rows, str(datetime.now(UTC).date())), encoding="utf-8")
        print(f"wrote {target}")


if __name__ == "__main__":
    main()
