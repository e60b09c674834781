"""``simdml sensitivity FILE``."""

from __future__ import annotations

from pathlib import Path

import click

from simdml.cli import options
from simdml.cli.writing import json_text
from simdml.studies.sensitivity.tornado import Sensitivity, sensitivity
from simdml.units import format_time


@click.command("sensitivity")
@options.scenario_file
@options.assignments()
@options.jobs
@options.as_json("the sensitivities")
@options.figure("a tornado")
def command(file: str, *, assignments: tuple[str, ...], jobs: int | None, as_json: bool, figure: Path | None) -> None:
    """Say what would make the scenario FILE faster: each part of it twice and half as good, and what binds it."""
    found = sensitivity(file, assignments, jobs=jobs)
    if as_json:
        click.echo(json_text(found.to_dict()), nl=False)
    else:
        _show(found)
    if figure is not None:
        # matplotlib is loaded for figures alone.
        from simdml.reporting.saving import save_drawing

        save_drawing(found.plot, figure)


def _show(found: Sensitivity) -> None:
    # rich is loaded for people alone.
    from rich.text import Text

    from simdml.cli.console import show, table
    from simdml.studies.sensitivity.table import COLUMNS, rows

    title = f"{found.result.name}: a step of {format_time(found.step_time_s)} with one part changed"
    show(table(COLUMNS, rows(found), title=title), Text(found.in_words()))
