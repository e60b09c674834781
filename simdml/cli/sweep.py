"""``simdml sweep FILE``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

from simdml.cli import options
from simdml.cli.dask_option import dask_start
from simdml.cli.progress import watch
from simdml.cli.writing import json_text, write_text, write_whole
from simdml.studies.sweep.objective import OBJECTIVES, Objective
from simdml.studies.sweep.sweep import Plan, Sweep, plan_sweep, run_sweep
from simdml.studies.sweep.table import (
    csv_text,
    failures,
    shown_rows,
    sweep_frame,
    sweep_to_dict,
    text_cells,
    text_columns,
)

CSV_FILE, JSON_FILE, PARQUET_FILE = "sweep.csv", "sweep.json", "sweep.parquet"


@click.command("sweep")
@options.scenario_file
@click.option("--vary", "varied", metavar="PATH=A,B,...", multiple=True, help="Values, or a range, for one path.")
@options.assignments()
@options.jobs
@options.dask
@options.out("Write the points to DIR, and go on there.")
@click.option("--best", type=click.Choice(list(OBJECTIVES)), default=next(iter(OBJECTIVES)), help="What is best.")
@options.as_json("the points")
@click.pass_context
def command(
    context: click.Context,
    *,
    file: str,
    varied: tuple[str, ...],
    assignments: tuple[str, ...],
    jobs: int | None,
    dask: str | None,
    out: Path | None,
    best: str,
    as_json: bool,
) -> None:
    """Predict every variant of the scenario FILE: its vary section, and every --vary.

    What cannot run is a row with the reason. With --out, a sweep that was stopped goes on where it was when the same
    command is given again.
    """
    plan, objective = plan_sweep(file, options=varied, assignments=assignments), OBJECTIVES[best]
    sweep = _run(plan, objective, jobs=jobs, dask=dask, out=out)
    if as_json:
        click.echo(json_text(sweep_to_dict(sweep, objective)), nl=False)
    else:
        _show(sweep, objective, out)
    if out is not None:
        _write(sweep, objective, out)
    context.exit(sweep.exit_code)


def _run(plan: Plan, objective: Objective, *, jobs: int | None, dask: str | None, out: Path | None) -> Sweep:
    try:
        with watch(objective) as progress:
            return run_sweep(plan, start=dask_start(dask), jobs=jobs, out=out, progress=progress)
    except KeyboardInterrupt:
        if out is not None:
            click.echo(f"what has finished is kept in {out}: the same command goes on from there", err=True)
        raise


def _show(sweep: Sweep, objective: Objective, out: Path | None) -> None:
    # rich is loaded for people alone.
    from rich.text import Text

    from simdml.cli.console import show, table

    rows, best = shown_rows(sweep, objective), objective.best(sweep.rows)
    points = table(text_columns(sweep), [text_cells(sweep, row, best) for row in rows], title=sweep.name)
    show(points, *map(Text, failures(sweep)))
    if (hidden := len(sweep.rows) - len(rows)) > 0:
        where = f"{out / CSV_FILE} has" if out is not None else "--out DIR or --json has"
        click.echo(f"the {len(rows)} best by {objective.name}; {hidden:,} more points: {where} all", err=True)


def _write(sweep: Sweep, objective: Objective, out: Path) -> None:
    write_text(out / CSV_FILE, csv_text(sweep))
    write_text(out / JSON_FILE, json_text(sweep_to_dict(sweep, objective)))
    names = [CSV_FILE, JSON_FILE]
    if find_spec("pyarrow") is not None:
        write_whole(out / PARQUET_FILE, lambda part: sweep_frame(sweep).to_parquet(part))
        names.append(PARQUET_FILE)
    click.echo(f"wrote {', '.join(names)} to {out}", err=True)
