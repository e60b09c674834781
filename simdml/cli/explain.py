"""``simdml explain TERM``."""

from __future__ import annotations

import click

from simdml.cli.glossary import communication, parallelism, results
from simdml.cli.glossary.term import Term
from simdml.errors import UnknownNameError, nearest_names, quoted

TERMS: tuple[Term, ...] = (*results.TERMS, *communication.TERMS, *parallelism.TERMS)


def find_term(name: str) -> Term:
    """Return the term called ``name``, in any case and with any of ``-``, ``_`` and space; raises UnknownNameError."""
    by_name = {_fold(alias): term for term in TERMS for alias in (*term.aliases, term.name)}
    found = by_name.get(_fold(name))
    if found is None:
        known = [alias for term in TERMS for alias in (term.name, *term.aliases)]
        near = nearest_names(name, known)
        hint = f"simdml explain {quoted(near[0])}" if near else "simdml explain, without a term, lists all"
        raise UnknownNameError("term", name, known, hint=hint)
    return found


def _fold(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "").replace(" ", "")


@click.command("explain")
@click.argument("term", nargs=-1)
def command(term: tuple[str, ...]) -> None:
    """Define TERM: what it is, its formula, unit and source. Without a TERM, list all."""
    if not term:
        click.echo("\n".join(sorted((each.name for each in TERMS), key=str.casefold)))
        return
    click.echo(text_of(find_term(" ".join(term))))


def text_of(term: Term) -> str:
    """Return the entry of a term."""
    rows = (("formula", term.formula), ("unit", term.unit), ("source", term.source), ("also", ", ".join(term.aliases)))
    body = click.wrap_text(term.definition, width=88, initial_indent="  ", subsequent_indent="  ")
    return "\n".join([term.name, body, *(f"  {label + ':':<9}{value}" for label, value in rows if value)])
