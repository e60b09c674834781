"""Fields that name something simdml knows: text, with the known names offered to editors.

A name is any text here; it is found, or refused with the nearest names, when it is looked up.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic.types import JsonValue


def offering(known: Iterable[str]) -> dict[str, JsonValue]:
    """Return what a field's JSON Schema needs so that editors offer ``known`` and accept anything."""
    names: list[JsonValue] = [*known]
    return {"anyOf": [{"enum": names}, {"type": "string"}]}
