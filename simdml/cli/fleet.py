"""``simdml fleet FILE``."""

from __future__ import annotations

from pathlib import Path

import click

from simdml.cli import options
from simdml.cli.writing import json_text, write_text
from simdml.studies.fleet.fleet import Fleet, QueueStudy, SharingStudy, fleet
from simdml.studies.fleet.waiting import Tried
from simdml.units import format_time

JSON_FILE, CSV_FILE = "fleet.json", "fleet.csv"


@click.command("fleet")
@options.scenario_file
@options.assignments()
@options.jobs
@options.as_json()
@options.figure("waits and slowdowns")
@options.out("Write fleet.json and fleet.csv to DIR.")
def command(
    file: str,
    *,
    assignments: tuple[str, ...],
    jobs: int | None,
    as_json: bool,
    figure: Path | None,
    out: Path | None,
) -> None:
    """Say what becomes of several jobs on one cluster: the scenario FILE with its fleet section."""
    found = fleet(file, assignments, jobs=jobs, progress=_say)
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
        write_text(out / CSV_FILE, found.to_frame().to_csv(index=False, lineterminator="\n"))
        click.echo(f"wrote {JSON_FILE} and {CSV_FILE} to {out}", err=True)


def _say(tried: Tried) -> None:
    click.echo(f"nodes {tried.nodes:,}, wait {format_time(tried.wait.mean)}", err=True)


def _show(found: Fleet) -> None:
    if found.queue is not None:
        _show_queue(found.name, found.queue)
    if found.sharing is not None:
        _show_sharing(found.name, found.sharing)


def _show_sharing(name: str, found: SharingStudy) -> None:
    # rich is loaded for people alone.
    from simdml.cli.console import show, table
    from simdml.studies.fleet.table import SHARING_COLUMNS, sharing_rows

    title = f"{name}: jobs beside each other on {found.num_nodes:,} nodes of {found.cluster}, {found.layout}"
    show(table(SHARING_COLUMNS, sharing_rows(found), title=title))


def _show_queue(name: str, found: QueueStudy) -> None:
    # rich is loaded for people alone.
    from simdml.cli.console import show, table
    from simdml.studies.fleet.table import GOAL_COLUMNS, WAIT_COLUMNS, goal_rows, queue_lines, wait_rows

    show(
        table(("", ""), queue_lines(found), title=f"{name}: jobs that wait for GPUs"),
        table(WAIT_COLUMNS, wait_rows(found)),
        *([] if found.goal is None else [table(GOAL_COLUMNS, goal_rows(found, found.goal), title="nodes tried")]),
    )
    if found.goal is not None and not found.goal.certain:
        text = "with other arrivals it may be other nodes: a larger count and more repeats make it surer"
        click.echo(f"note: {text}", err=True)
    if found.waits.grows:
        click.echo("note: jobs wait longer and longer: with these rules the queue grows for ever", err=True)
