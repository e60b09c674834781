"""``simdml goodput FILE``."""

from __future__ import annotations

from pathlib import Path

import click

from simdml.cli import options
from simdml.cli.writing import json_text, write_text
from simdml.studies.goodput.goodput import Goodput, goodput

JSON_FILE, CSV_FILE = "goodput.json", "goodput.csv"


@click.command("goodput")
@options.scenario_file
@options.assignments()
@click.option("--seeds", type=click.IntRange(2, 100_000), metavar="N", help="Runs, each with failures of its own.")
@options.as_json()
@options.figure("when it ends, what is lost")
@options.out("Write goodput.json, goodput.csv to DIR.")
def command(
    file: str,
    *,
    assignments: tuple[str, ...],
    seeds: int | None,
    as_json: bool,
    figure: Path | None,
    out: Path | None,
) -> None:
    """Say how long weeks of training take with failures: the scenario FILE with its goodput section."""
    found = goodput(file, assignments, runs=seeds)
    if as_json:
        click.echo(json_text(found.to_dict()), nl=False)
    else:
        _show(found)
    if figure is not None:
        # matplotlib is loaded for figures alone.
        from simdml.reporting.saving import save_drawing

        save_drawing(found.plot, figure)
    if out is not None:
        write_text(out / JSON_FILE, json_text(found.to_dict()))
        write_text(out / CSV_FILE, found.to_frame().to_csv(lineterminator="\n"))
        click.echo(f"wrote {JSON_FILE} and {CSV_FILE} to {out}", err=True)


def _show(found: Goodput) -> None:
    # rich is loaded for people alone.
    from simdml.cli.console import show, table
    from simdml.studies.goodput.table import ACCOUNT_COLUMNS, CAUSE_COLUMNS, account_rows, cause_rows, headline

    show(
        table(("", ""), headline(found), title=f"{found.name}: training with failures"),
        table(ACCOUNT_COLUMNS, account_rows(found)),
        table(CAUSE_COLUMNS, cause_rows(found)),
    )
    for assumption in found.planned.assumptions:
        click.echo(f"assumed: {assumption}", err=True)
