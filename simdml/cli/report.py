"""``simdml report SOURCE -o FILE``."""

from __future__ import annotations

from pathlib import Path

import click

from simdml.cli import options
from simdml.cli.writing import write_together


@click.command("report")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    required=True,
    help="Where to write it: .html is one file, .md has its pictures beside it.",
)
@options.assignments("every scenario")
def command(sources: tuple[str, ...], *, output: Path, assignments: tuple[str, ...]) -> None:
    """Write a report on SOURCE: a scenario, or what another command wrote with --json or --out.

    A scenario with a vary section is swept, several scenarios are compared. The answer and how sure it is come first;
    what binds the job, what would change it, where its time goes and what it rests on follow. The page opens offline
    and prints.
    """
    # Reports bring pydantic, jinja2 and matplotlib.
    from simdml.studies.report.assembling import make_report
    from simdml.studies.report.writing import check_target, report_files

    check_target(output)
    files = report_files(make_report(sources, assignments), output)
    write_together(files)
    click.echo(f"wrote {', '.join(map(str, files))}", err=True)
