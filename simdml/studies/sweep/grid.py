"""Axes into points: every combination, in the order of nested loops, the last axis fastest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from simdml.documents.document import Document, KeyPath, from_mapping
from simdml.documents.overriding import assign
from simdml.scenario.schema.strategy import excluded_by
from simdml.studies.sweep.axes import VARY, Axis, Setting

SHORT_FORMS: Mapping[str, str] = {"cluster": "name", "model": "name", "profile": "name", "communication": "library"}
"""Sections that may be written as text, and the key the text then stands for."""
STRATEGY = "strategy"
_NEIGHBOURS = ("cluster", "model", "training", STRATEGY)


@dataclass(frozen=True, slots=True)
class Point:
    """One scenario of a sweep: its place in the order, and its settings, outer keys before what is inside them."""

    number: int
    settings: tuple[Setting, ...]

    def values(self) -> dict[str, Any]:
        """Return the value set at every path."""
        return {setting.path: setting.value.data for setting in self.settings}

    def document(self, base: Document) -> Document:
        """Return the scenario of this point: ``base`` with its settings.

        Raises:
            DocumentError: a path that leads through a value that is not a mapping.
        """
        document = base
        for setting in self.settings:
            document = assign(_written_out(document, setting.steps), setting.steps, setting.value, VARY)
        return document


def points(axes: Sequence[Axis]) -> Iterator[Point]:
    """Yield the points of the grid that ``axes`` span.

    A setting inside a value that another axis gives applies where that value has room for it: with
    ``strategy: [ddp, {parameter_server: ...}]`` the number of servers varies for the parameter server alone, and
    ``ddp`` is one point.
    """
    number = 0
    for chosen in product(*(enumerate(axis.entries) for axis in axes)):
        every = sorted((setting for _, entry in chosen for setting in entry), key=lambda setting: len(setting.steps))
        settings = tuple(setting for setting in every if all(_has_room(other, setting.steps) for other in every))
        applied = {id(setting) for setting in settings}
        if all(index == 0 or any(id(setting) in applied for setting in entry) for index, entry in chosen):
            yield Point(number, settings)
            number += 1


def by_similarity(every: Sequence[Point]) -> list[Point]:
    """Return points with equal clusters, models and so on next to each other, so that workers can reuse them."""
    ranks: dict[str, int] = {}
    likeness = {
        point.number: [ranks.setdefault(text, len(ranks)) for text in _settings_by_section(point)] for point in every
    }
    return sorted(every, key=lambda point: (likeness[point.number], point.number))


def _settings_by_section(point: Point) -> Iterator[str]:
    for section in _NEIGHBOURS:
        inside = {setting.path: setting.value.data for setting in point.settings if setting.steps[0] == section}
        yield section + json.dumps(inside, sort_keys=True)


def _has_room(outer: Setting, steps: KeyPath) -> bool:
    """Whether ``outer``, if it is around ``steps``, has a value that can be entered."""
    depth = len(outer.steps)
    if len(steps) <= depth or steps[:depth] != outer.steps:
        return True
    value = outer.value.data
    if isinstance(value, dict):
        return outer.steps != (STRATEGY,) or steps[1] not in excluded_by(value)
    return isinstance(value, str) and depth == 1 and outer.steps[0] in SHORT_FORMS


def _written_out(document: Document, steps: KeyPath) -> Document:
    """Return ``document`` with the section that ``steps`` enter as a mapping, if it is text: ``cluster: dgx_a100``."""
    section = str(steps[0])
    if len(steps) == 1 or section not in SHORT_FORMS or not isinstance(document.data.get(section), str):
        return document
    place = document.place((section,))
    mapping = from_mapping({SHORT_FORMS[section]: document.data[section]})
    placed = dict.fromkeys(mapping.value_places, place)
    return assign(document, (section,), Document(document.name, mapping.data, placed, placed), VARY)
