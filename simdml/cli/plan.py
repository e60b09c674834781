"""``simdml plan FILE``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import click

from simdml.cli import options
from simdml.cli.dask_option import dask_start
from simdml.cli.writing import json_text, write_text
from simdml.studies.plan.answer import certificate, shown_objective, targets_in_words
from simdml.studies.plan.planning import Plan, Progress, plan
from simdml.studies.plan.table import columns, rows, to_run

JSON_FILE = "plan.json"
INTERRUPTED = 130
_EVERY_S = 10.0


@click.command("plan")
@options.scenario_file
@options.assignments()
@options.jobs
@options.dask
@options.as_json("the plan")
@options.figure("the alternatives")
@options.out("Write plan.json to DIR, and go on there.")
@click.pass_context
def command(
    context: click.Context,
    *,
    file: str,
    assignments: tuple[str, ...],
    jobs: int | None,
    dask: str | None,
    as_json: bool,
    figure: Path | None,
    out: Path | None,
) -> None:
    """Find the best layout of the scenario FILE, or the best cluster: its plan section says what may be chosen.

    Most candidates are never simulated: a bound says that they cannot be better. With --out, a plan that was stopped
    goes on where it was when the same command is given again; Ctrl-C ends it with the best so far.
    """
    found = plan(file, assignments, jobs=jobs, start=dask_start(dask), out=out, progress=_Watch())
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
        click.echo(f"wrote {JSON_FILE} to {out}", err=True)
    if not found.finished:
        context.exit(INTERRUPTED)


def _show(found: Plan) -> None:
    # rich is loaded for people alone.
    from rich.text import Text

    from simdml.cli.console import show, table

    if found.best is None:
        show(Text(certificate(found)))
        return
    best = found.best.candidate
    where = f" on {best.site.label}" if len(found.sites) > 1 else ""
    words = [f"Best: {best.choice}{where}.", targets_in_words(found), certificate(found)]
    show(
        table(columns(found), rows(found), title=f"{found.name}: a plan"),
        *(Text(line) for line in words if line),
        Text(f"\n{to_run(best)}"),
    )


@dataclass(slots=True)
class _Watch:
    """Says now and then, on standard error, how far the search is."""

    began_s: float = field(default_factory=time.monotonic)
    said_s: float = field(default_factory=time.monotonic)
    say: Callable[[str], None] = lambda message: click.echo(message, err=True)

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self.said_s < _EVERY_S and progress.last is not None:
            return
        if progress.last is None and not sys.stderr.isatty():
            return
        self.said_s = now
        search = progress.search
        words = [f"{search.num_left:,} candidates left"]
        best, left = search.best, search.least_left
        if best is not None and best.rank is not None:
            per_step = best.candidate.site.steps == 1.0
            words.append(f"best {shown_objective(search.goal, best.rank[1], per_step=per_step)}")
            if left is not None and best.rank[1]:
                words.append(f"at most {max(0.0, 100 * (1 - left[1] / best.rank[1])):.2g} % better is possible")
        self.say(", ".join(words))
