"""How far a sweep or a validation is, on standard error: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from simdml.studies.sweep.objective import Objective
from simdml.studies.sweep.sweep import Progress, Row
from simdml.studies.sweep.table import short_names, shown_value

LINE_EVERY_S, BAR_EVERY_S = 10.0, 0.2
_LONGEST = 70


@dataclass(slots=True)
class _Watch:
    """Remembers the best point and how many failed; ``draw`` is called at most every ``every_s`` seconds."""

    objective: Objective
    say: Callable[[str], None]
    draw: Callable[[Progress, str], None]
    every_s: float
    began_s: float
    drawn_s: float
    best: Row | None = None
    failed: int = 0

    def __call__(self, progress: Progress) -> None:
        row = progress.last
        if row is not None:
            self.failed += not row.outcome.ok
            self.best = row if self.objective.better(row, self.best) else self.best
        elif progress.resumed:
            self.say(f"{progress.resumed:,} of {progress.total:,} points are from before")
        now = time.monotonic()
        if now - self.drawn_s >= self.every_s:
            self.drawn_s = now
            self.draw(progress, self._words(progress, now - self.began_s))

    def _words(self, progress: Progress, elapsed_s: float) -> str:
        words = [f"{self.failed:,} cannot run"] if self.failed else []
        if self.best is not None:
            words.append(f"best {self.objective.show(self.best.outcome)} ({_settings(self.best)})")
        simulated = progress.done - progress.resumed
        if simulated and progress.done < progress.total:
            left_s = elapsed_s / simulated * (progress.total - progress.done)
            words.append(f"{left_s:,.0f} s left")
        return ", ".join(words)


@contextmanager
def watch(objective: Objective) -> Iterator[Callable[[Progress], None]]:
    """Give what to call with the progress of a sweep."""
    now = time.monotonic()
    if not sys.stderr.isatty():
        yield _Watch(objective, _say, _line, LINE_EVERY_S, now, now)
        return
    with _bar() as (draw_bar, say):

        def draw(progress: Progress, words: str) -> None:
            draw_bar(progress.done, progress.total, words)

        yield _Watch(objective, say, draw, BAR_EVERY_S, now, 0.0)


@contextmanager
def watch_rows() -> Iterator[Callable[[int, int], None]]:
    """Give what to call with how many rows of how many are done."""
    began = time.monotonic()
    if not sys.stderr.isatty():
        yield _Rows(lambda done, total, words: _say(f"{done:,} of {total:,} rows, {words}"), LINE_EVERY_S, began, began)
        return
    with _bar() as (draw, _):
        yield _Rows(draw, BAR_EVERY_S, began, 0.0)


@dataclass(slots=True)
class _Rows:
    """Draws at most every ``every_s`` seconds; rows that were done before the first call take no time."""

    draw: Callable[[int, int, str], None]
    every_s: float
    began_s: float
    drawn_s: float
    before: int | None = None

    def __call__(self, done: int, total: int) -> None:
        if self.before is None:
            self.before = done - 1
        now = time.monotonic()
        if now - self.drawn_s >= self.every_s and done < total:
            self.drawn_s = now
            left_s = (now - self.began_s) / (done - self.before) * (total - done)
            self.draw(done, total, f"{left_s:,.0f} s left")


@contextmanager
def _bar() -> Iterator[tuple[Callable[[int, int, str], None], Callable[[str], None]]]:
    """Give what draws a bar on a terminal, and what says something above it."""
    # rich is loaded for terminals alone.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=None)

        def draw(done: int, total: int, words: str) -> None:
            bar.update(task, completed=done, total=total, description=words, refresh=True)

        yield draw, bar.console.print


def _line(progress: Progress, words: str) -> None:
    _say(f"{progress.done:,} of {progress.total:,} points{', ' if words else ''}{words}")


def _say(message: str) -> None:
    click.echo(message, err=True)


def _settings(row: Row) -> str:
    values = row.point.values()
    text = ", ".join(
        f"{name} {shown_value(values[path])}" for name, path in zip(short_names([*values]), values, strict=True)
    )
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
