"""``simdml run FILE``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simdml.cli import options
from simdml.cli.writing import json_text, write_text, write_whole
from simdml.results.plain import plain, result_to_dict
from simdml.results.result import Result
from simdml.results.uncertainty import FEWEST_SAMPLES
from simdml.scenario.building import Built, build
from simdml.scenario.loading import Scenario, load_scenario
from simdml.scenario.simulate import simulate_built
from simdml.studies.cost.asked import asks_for_statement

if TYPE_CHECKING:
    from simdml.studies.cost.statement import Statement
    from simdml.studies.resampling import Resampled

RESULT_FILE, TRACE_FILE = "result.json", "trace.json"


@click.command("run")
@options.scenario_file
@options.assignments()
@options.as_json()
@click.option(
    "--samples",
    type=click.IntRange(FEWEST_SAMPLES),
    metavar="N",
    help="Give intervals by N simulations with sampled costs too.",
)
@click.option("--trace", type=click.Path(path_type=Path), metavar="FILE", help="Write a timeline for ui.perfetto.dev.")
@options.figure("where the step goes")
@options.out("Write result.json and trace.json to DIR.")
def command(
    file: str,
    *,
    assignments: tuple[str, ...],
    as_json: bool,
    samples: int | None,
    trace: Path | None,
    figure: Path | None,
    out: Path | None,
) -> None:
    """Predict step time and throughput of the scenario FILE, a path or a bundled name."""
    scenario = load_scenario(file, assignments)
    built = build(scenario)
    result = simulate_built(built)
    costs = _statement(result, scenario) if asks_for_statement(scenario) else None
    again = None if samples is None else _resampled(built, result, samples)
    _print(result, costs, again, as_json=as_json)
    if trace is not None:
        _write_trace(result, trace)
    if figure is not None:
        # matplotlib is loaded for figures alone.
        from simdml.reporting.figures import save_figure

        save_figure(result, figure)
    if out is not None:
        write_text(out / RESULT_FILE, json_text(_plain(result, costs, again)))
        _write_trace(result, out / TRACE_FILE)
        click.echo(f"wrote {RESULT_FILE} and {TRACE_FILE} to {out}", err=True)


def _statement(result: Result, scenario: Scenario) -> Statement:
    from simdml.studies.cost.statement import statement

    return statement(result, scenario)


def _resampled(built: Built, result: Result, samples: int) -> Resampled:
    from simdml.studies.resampling import resampled

    assert result.basis is not None
    return resampled(built, result.basis, samples)


def _plain(result: Result, costs: Statement | None, again: Resampled | None) -> dict[str, Any]:
    """Return the result as plain data, with what was asked for beside it."""
    found = result_to_dict(result) | ({} if costs is None else {"cost": costs.plain()})
    return found | ({} if again is None else {"resampled": plain(asdict(again))})


def _print(result: Result, costs: Statement | None, again: Resampled | None, *, as_json: bool) -> None:
    if as_json:
        click.echo(json_text(_plain(result, costs, again)), nl=False)
        return
    # rich is loaded for people alone.
    from simdml.cli.console import show, table
    from simdml.reporting.headline import from_to
    from simdml.reporting.text import result_text

    show(result_text(result))
    if again is not None:
        intervals = {"50 % interval": again.interval_50_s, "90 % interval": again.interval_90_s}
        found = [(name, from_to(*interval)) for name, interval in intervals.items()]
        show(table(("", ""), found, title=f"{again.samples} simulations with sampled costs"))
    if costs is not None:
        from simdml.studies.cost.table import rows

        show(table(("", ""), rows(costs), title="cost and energy"))


def _write_trace(result: Result, path: Path) -> None:
    from simdml.results.trace import write_trace

    write_whole(path, lambda part: write_trace(result, part))
