"""``simdml explain TERM``."""

from __future__ import annotations

import click

from simdml.cli.glossary import (
    around,
    communication,
    model_parallel,
    parallelism,
    parameter_servers,
    pipelines,
    planning,
    reliability,
    results,
)
from simdml.cli.glossary.term import Term
from simdml.errors import UnknownNameError, nearest_names, quoted

TERMS: tuple[Term, ...] = (
    *results.TERMS,
    *reliability.TERMS,
    *communication.TERMS,
    *parallelism.TERMS,
    *pipelines.TERMS,
    *model_parallel.TERMS,
    *parameter_servers.TERMS,
    *around.TERMS,
    *planning.TERMS,
)


def entry(name: str) -> str:
    """Return what is known of a term or a strategy, in any case and with any of ``-``, ``_`` and space.

    Raises:
        UnknownNameError: with the nearest names.
    """
    term = next((each for each in TERMS if _fold(name) in map(_fold, (each.name, *each.aliases))), None)
    exact = term is not None and name.casefold() in {each.casefold() for each in (term.name, *term.aliases)}
    if term is not None and exact and not term.is_strategy:
        return text_of(term)
    # Strategies need numpy; terms of the glossary are explained without.
    from simdml.cli.explain_strategy import schedule_lines, strategy_lines
    from simdml.scenario.schedules import FILES
    from simdml.strategies.catalog import strategies

    if name.endswith(FILES):
        return "\n".join(schedule_lines(name))
    known = strategies()
    names = {name.casefold()} if term is not None and not term.is_strategy else {_fold(name)}
    if term is not None and term.is_strategy:
        names |= {_fold(each) for each in (term.name, *term.aliases)}
    strategy = next((each for each in known.values() if names & {each.name, _fold(each.name)}), None)
    if strategy is not None:
        return "\n".join(strategy_lines(strategy, term if term is not None and term.is_strategy else None))
    if term is not None:
        return text_of(term)
    words = [*known, *(alias for each in TERMS for alias in (each.name, *each.aliases))]
    near = nearest_names(name, words)
    hint = f"simdml explain {quoted(near[0])}" if near else "simdml explain, without a term, lists all"
    raise UnknownNameError("term", name, words, hint=hint)


def _fold(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "").replace(" ", "")


@click.command("explain")
@click.argument("term", nargs=-1)
def command(term: tuple[str, ...]) -> None:
    """Define TERM: what it is, its formula, unit and source; a strategy with its defaults. Without a TERM, list all."""
    click.echo(entry(" ".join(term)) if term else "\n".join(_all_names()))


def _all_names() -> list[str]:
    from simdml.strategies.catalog import strategies

    taken = {_fold(alias) for each in TERMS if each.is_strategy for alias in (each.name, *each.aliases)}
    others = (name for name in strategies() if _fold(name) not in taken)
    return sorted((*(each.name for each in TERMS), *others), key=str.casefold)


def text_of(term: Term) -> str:
    """Return the entry of a term."""
    rows = (("formula", term.formula), ("unit", term.unit), ("source", term.source), ("also", ", ".join(term.aliases)))
    body = click.wrap_text(term.definition, width=88, initial_indent="  ", subsequent_indent="  ")
    return "\n".join([term.name, body, *(f"  {label + ':':<9}{value}" for label, value in rows if value)])
