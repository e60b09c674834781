"""``simdml check FILE``."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.table import Table

from simdml.cli import options
from simdml.cli.console import show, table
from simdml.costs.memory import MemoryEstimate
from simdml.scenario.building import build
from simdml.scenario.explaining import defaults, describe_job, explain_lines, shown
from simdml.scenario.loading import load_scenario
from simdml.units import format_bytes

MEMORY_PARTS = ("parameters", "gradients", "optimizer", "activations", "buckets", "overhead")


@click.command("check")
@options.scenario_file
@options.assignments()
def command(file: str, assignments: tuple[str, ...]) -> None:
    """Say what every line of the scenario FILE means, what it leaves open, and whether it would run."""
    scenario = load_scenario(file, assignments)
    built = build(scenario)
    memory = built.memory()
    lines = [(line.where, line.path, line.value, line.meaning) for line in explain_lines(built)]
    taken = [(choice.path, shown(choice.value), choice.reason) for choice in defaults(built)]
    show(
        table(("line", "key", "value", "meaning"), lines, title=f"{scenario.name}: what it says"),
        table(("key", "value", "why"), taken, title="what it leaves open"),
        table(("", ""), describe_job(built), title="the job"),
        _memory_table(memory),
    )
    built.fitting_memory()
    built.program()
    for note in built.notes:
        click.echo(f"note: {note}", err=True)
    click.echo("OK")


def _memory_table(estimates: Sequence[MemoryEstimate]) -> Table:
    rows = [
        (
            estimate.rank_class,
            *(format_bytes(getattr(estimate, part)) for part in MEMORY_PARTS),
            format_bytes(estimate.total),
            format_bytes(estimate.capacity),
        )
        for estimate in estimates
    ]
    return table(("rank class", *MEMORY_PARTS, "total", "device"), rows, title="memory at the peak of a step")
