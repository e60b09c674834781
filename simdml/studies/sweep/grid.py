"""Axes into points: every combination, in the order of nested loops, the last axis fastest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from simdml.documents.document import Document, KeyPath
from simdml.documents.overriding import assign
from simdml.scenario.schema.strategy import excluded_by
from simdml.scenario.short_forms import SHORT_FORMS, written_out
from simdml.studies.sweep.axes import VARY, Axis, Setting

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
            document = assign(written_out(document, setting.steps), setting.steps, setting.value, VARY)
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
