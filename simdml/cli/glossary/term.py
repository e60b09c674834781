"""What a term is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Term:
    """A word of the field as simdml uses it; ``formula`` and ``unit`` are empty where there is none.

    ``is_strategy`` says that the catalog of strategies has more to say under one of the term's names.
    """

    name: str
    definition: str
    formula: str = ""
    unit: str = ""
    source: str = ""
    aliases: tuple[str, ...] = ()
    is_strategy: bool = False
