"""``simdml compare A B``."""

from __future__ import annotations

from pathlib import Path

import click

from simdml.cli import options
from simdml.cli.writing import json_text
from simdml.studies.compare.comparison import Comparison, compare
from simdml.studies.compare.waterfall import RANK, SOURCES

_ACCOUNTS = {"rank": "on the rank that ends the step", "path": "on the critical path"}


@click.command("compare")
@click.argument("reference")
@click.argument("others", nargs=-1, required=True)
@options.assignments("every scenario")
@click.option("--by", type=click.Choice(SOURCES), default=RANK, help="Whose accounts explain the difference.")
@options.as_json("the comparison")
@options.figure("the waterfalls")
def command(
    reference: str,
    others: tuple[str, ...],
    *,
    assignments: tuple[str, ...],
    by: str,
    as_json: bool,
    figure: Path | None,
) -> None:
    """Say what differs in the scenarios OTHERS from REFERENCE, what changed, and where the difference comes from.

    The accounts of a waterfall (simdml explain) add up to the difference of the two step times.
    """
    comparison = compare(reference, *others, assignments=assignments, by=by)
    if as_json:
        click.echo(json_text(comparison.to_dict()), nl=False)
    else:
        _show(comparison)
    if figure is not None:
        # matplotlib is loaded for figures alone.
        from simdml.reporting.saving import save_drawing

        save_drawing(comparison.plot, figure)


def _show(comparison: Comparison) -> None:
    from simdml.cli.console import show, table
    from simdml.studies.compare.table import input_rows, output_rows, waterfall_rows

    names = [comparison.name, *(other.name for other in comparison.others)]
    inputs = input_rows(comparison)
    show(
        table(("", *names), inputs, title="what differs") if inputs else "no input differs",
        table(("", *names), output_rows(comparison), title="what changed"),
        *(
            table(
                ("account", comparison.name, other.name, "difference", ""),
                waterfall_rows(other),
                title=f"where it comes from: {other.name}, {_ACCOUNTS[comparison.source]}",
            )
            for other in comparison.others
        ),
    )
