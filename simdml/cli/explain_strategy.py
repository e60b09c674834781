"""What ``simdml explain`` says about a strategy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from simdml.cli.glossary.term import Term
from simdml.scenario.explaining import shown
from simdml.scenario.schedules import schedule_in
from simdml.strategies.strategy import Strategy

WIDTH = 88


def strategy_lines(strategy: Strategy, term: Term | None) -> Iterator[str]:
    """Yield the entry of a strategy: whose it is, what is modelled and what is not, its defaults, its sources.

    ``term`` is the glossary's entry of that name, if there is one.
    """
    yield f"{strategy.name}: {strategy.system}" if strategy.system else strategy.name
    yield wrapped(strategy.meaning if term is None or strategy.models else term.definition)
    if term is not None and term.formula:
        yield f"  formula: {term.formula}"
    for title, sentences in (("models", strategy.models), ("leaves out", strategy.leaves_out)):
        yield from _list(title, sentences)
    if strategy.defaults:
        yield "\n  defaults:"
        yield from (f"    {name}: {shown(value)}" for name, value in strategy.defaults.items())
    yield from _list("sources", strategy.sources or ((term.source,) if term is not None and term.source else ()))
    yield f"\n  in a scenario: {strategy.written or f'strategy: {strategy.name}'}"


def schedule_lines(name: str) -> Iterator[str]:
    """Yield the entry of the schedule in the file ``name``; raises DocumentError if it holds none."""
    schedule = schedule_in(Path(name))
    written = f"strategy: {{mesh: {{pp: ...}}, pipeline: {{schedule: {name}}}}}"
    yield from strategy_lines(Strategy(schedule.name, schedule.system, schedule.meaning, written=written), None)


def _list(title: str, sentences: tuple[str, ...]) -> Iterator[str]:
    if sentences:
        yield f"\n  {title}:"
        yield from (wrapped(sentence, "    - ", "      ") for sentence in sentences)


def wrapped(text: str, first: str = "  ", after: str = "  ") -> str:
    """Return ``text`` in lines of a readable width."""
    return click.wrap_text(text, width=WIDTH, initial_indent=first, subsequent_indent=after)
