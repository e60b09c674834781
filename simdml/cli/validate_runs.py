"""``simdml validate TABLE...``: published or own measured runs, replayed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import yaml

from simdml.cli import options
from simdml.cli.console import show, table
from simdml.cli.writing import PicturePath, json_text, write_text, write_together, write_whole
from simdml.errors import UsageError, did_you_mean, quoted

if TYPE_CHECKING:
    from simdml.validation.runs.replay import Replayed
    from simdml.validation.runs.study import RunsValidation

WORST_SHOWN = 10
ROWS_FILE, JSON_FILE = "rows.csv", "validation.json"


@click.command("runs")
@click.argument("tables", nargs=-1, type=click.Path(path_type=Path))
@click.option("--explain", metavar="ROW", help="Show what the prediction of this row is made of, and its neighbours.")
@options.jobs
@options.out("Write rows to DIR, and go on there.")
@click.option("--export-scenarios", type=click.Path(path_type=Path), metavar="DIR", help="Write a scenario a row.")
@options.as_json()
@click.option("--draw", type=PicturePath(), metavar="FILE", help="Draw predicted against measured, and errors.")
@click.option(
    "--report",
    "reports",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a report: .html or .md; may be given for both.",
)
@click.option("--coefficients", is_flag=True, help="List every fitted coefficient and what it was fitted on, alone.")
def runs(
    tables: tuple[Path, ...],
    *,
    explain: str | None,
    jobs: int | None,
    out: Path | None,
    export_scenarios: Path | None,
    as_json: bool,
    draw: Path | None,
    reports: tuple[Path, ...],
    coefficients: bool,
) -> None:
    """Predict every run of the CSV files TABLES and say how wrong the predictions are; of the bundled ones by default.

    Three families of columns are read: of language models, of classic runs, and of collectives as nccl-tests prints
    them. Rows that cannot be simulated are listed with the reason. With --out, a validation that was stopped goes on
    where it was.
    """
    from simdml.cli.progress import watch_rows
    from simdml.validation.runs.study import bundled_tables, validate_runs

    if coefficients:
        _coefficients(as_json=as_json)
        return
    for path in reports:
        from simdml.studies.report.writing import check_target

        check_target(path)
    tables = tables or bundled_tables()
    if export_scenarios is not None:
        _export(tables, export_scenarios)
    with watch_rows() as progress:
        validation = validate_runs(tables, processes=jobs, folder=out, progress=progress)
    if explain is not None:
        _explain(validation, explain)
    elif as_json:
        from simdml.validation.runs.table import to_dict

        click.echo(json_text(to_dict(validation)), nl=False)
    else:
        _show(validation)
    if out is not None:
        _write(validation, out)
    if draw is not None:
        from simdml.validation.runs.figures import save_runs_figure

        write_whole(draw, lambda part: save_runs_figure(validation, part))
        click.echo(f"drew {draw}", err=True)
    if reports:
        _report(validation, reports)


def _show(validation: RunsValidation) -> None:
    from simdml.validation.runs.coverage import COVERAGE_COLUMNS, coverage_cells
    from simdml.validation.runs.table import ROW_COLUMNS, SCORE_COLUMNS, row_cells, score_cells, summary

    shown = [
        table((grouping, *SCORE_COLUMNS), map(score_cells, scores), title=f"errors of step time by {grouping}")
        for grouping, scores in validation.scores.items()
        if scores
    ]
    if validation.memory_scores:
        title = "errors of peak memory by source"
        shown.append(table(("source", *SCORE_COLUMNS), map(score_cells, validation.memory_scores), title=title))
    if validation.covered is not None:
        shown.append(table(("source", *COVERAGE_COLUMNS), map(coverage_cells, validation.coverages["source"])))
    worst = validation.worst(WORST_SHOWN)
    if worst:
        shown.append(table(ROW_COLUMNS, map(row_cells, worst), title="worst rows"))
    show(*shown, *summary(validation))


def _coefficients(*, as_json: bool) -> None:
    from simdml.validation.runs.coefficients import COLUMNS, cells, coefficients, to_plain

    if as_json:
        click.echo(json_text(to_plain(coefficients())), nl=False)
    else:
        show(table(COLUMNS, map(cells, coefficients())))


def _explain(validation: RunsValidation, name: str) -> None:
    from simdml.validation.runs.table import ROW_COLUMNS, explanations, row_cells

    found = _find(validation, name)
    near = validation.neighbours(found)
    beside = [found, *near]
    columns = ("", *(each.row.name for each in beside))
    title = "runs next to it" if near else "the run"
    runs_shown = table(ROW_COLUMNS[:2], (row_cells(each)[:2] for each in beside), title=title)
    reasons = [f"{each.row.name} is left out: {each.replay.reason}" for each in beside if each.replay.reason]
    show(table(columns, explanations(beside), title=found.row.name), runs_shown, *reasons)


def _find(validation: RunsValidation, name: str) -> Replayed:
    for each in validation.rows:
        if each.row.name == name:
            return each
    names = [each.row.name for each in validation.rows]
    raise UsageError(f"no row {quoted(name)} in the tables", hint=did_you_mean(name, names) or f"such as {names[0]}")


def _write(validation: RunsValidation, out: Path) -> None:
    from simdml.validation.runs.table import csv_text, to_dict

    write_text(out / ROWS_FILE, csv_text(validation))
    write_text(out / JSON_FILE, json_text(to_dict(validation)))
    click.echo(f"wrote {ROWS_FILE}, {JSON_FILE} to {out}", err=True)


def _report(validation: RunsValidation, paths: Sequence[Path]) -> None:
    from simdml.studies.report.writing import report_files
    from simdml.validation.runs.report import accuracy_report
    from simdml.validation.runs.study import bundled_tables
    from simdml.validation.sets.section import sets_sections

    bundled = [each.file for each in validation.tables] == list(map(str, bundled_tables()))
    report = accuracy_report(validation, sets_sections() if bundled else ())
    files = {file: text for path in paths for file, text in report_files(report, path).items()}
    write_together(files)
    click.echo(f"wrote {', '.join(map(str, files))}", err=True)


def _export(tables: tuple[Path, ...], folder: Path) -> None:
    from simdml.validation.runs.omitted import completed
    from simdml.validation.runs.reading import Unusable, read_table
    from simdml.validation.runs.replay import scenario_of

    written = 0
    for row in (completed(row) for path in tables for row in read_table(path).rows):
        try:
            scenario = scenario_of(row)
        except Unusable:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        name = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in row.name)
        write_text(folder / f"{name}.yaml", yaml.safe_dump(scenario, sort_keys=False, width=120))
        written += 1
    click.echo(f"wrote {written} scenarios to {folder}", err=True)
