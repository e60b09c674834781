"""``simdml run FILE``."""

from __future__ import annotations

from pathlib import Path

import click

from simdml.cli.writing import PicturePath, json_text, write_text, write_whole
from simdml.results.plain import result_to_dict
from simdml.results.result import Result
from simdml.scenario.loading import load_scenario
from simdml.scenario.simulate import simulate

RESULT_FILE, TRACE_FILE = "result.json", "trace.json"


@click.command("run")
@click.argument("file")
@click.option("--set", "assignments", metavar="PATH=VALUE", multiple=True, help="Change one value of the scenario.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--trace", type=click.Path(path_type=Path), metavar="FILE", help="Write a timeline for ui.perfetto.dev.")
@click.option("--figure", type=PicturePath(), metavar="FILE", help="Draw where the step goes (png, svg, pdf).")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Write result.json and trace.json to DIR.")
def command(
    file: str,
    *,
    assignments: tuple[str, ...],
    as_json: bool,
    trace: Path | None,
    figure: Path | None,
    out: Path | None,
) -> None:
    """Predict step time and throughput of the scenario FILE, a path or a bundled name."""
    result = simulate(load_scenario(file, assignments))
    _print(result, as_json=as_json)
    if trace is not None:
        _write_trace(result, trace)
    if figure is not None:
        # matplotlib is loaded for figures alone.
        from simdml.reporting.figures import save_figure

        save_figure(result, figure)
    if out is not None:
        write_text(out / RESULT_FILE, json_text(result_to_dict(result)))
        _write_trace(result, out / TRACE_FILE)
        click.echo(f"wrote {RESULT_FILE} and {TRACE_FILE} to {out}", err=True)


def _print(result: Result, *, as_json: bool) -> None:
    if as_json:
        click.echo(json_text(result_to_dict(result)), nl=False)
        return
    # rich is loaded for people alone.
    from simdml.cli.console import show
    from simdml.reporting.text import result_text

    show(result_text(result))


def _write_trace(result: Result, path: Path) -> None:
    from simdml.results.trace import write_trace

    write_whole(path, lambda part: write_trace(result, part))
