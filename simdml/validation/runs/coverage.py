"""Whether intervals mean what they say: how many measured steps lie inside, by group of rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import log
from statistics import median

from simdml.validation.runs.replay import Replayed
from simdml.validation.runs.scores import GROUPINGS

COVERAGE_COLUMNS = ("rows", "in the 50 % interval", "in the 90 %", "half the 90 % interval")


@dataclass(frozen=True, slots=True)
class Coverage:
    """Fractions of a group's ``rows`` that lie in their intervals.

    ``half_width`` is half the length of the median 90 % interval, as a logarithm.
    """

    name: str
    rows: int
    inside_50: float
    inside_90: float
    half_width: float


def coverage(name: str, replayed: Iterable[Replayed]) -> Coverage | None:
    """Return the coverage of a group; None if no row has both a measured time and intervals."""
    known = [(each, each.uncertainty) for each in replayed if each.inside(90) is not None]
    widths = [log(found.interval_90_s[1] / found.interval_90_s[0]) / 2 for _, found in known if found is not None]
    if not known:
        return None
    inside = {percent: sum(bool(each.inside(percent)) for each, _ in known) / len(known) for percent in (50, 90)}
    return Coverage(name, len(known), inside[50], inside[90], median(widths))


def coverage_by(grouping: str, replayed: Iterable[Replayed]) -> list[Coverage]:
    """Return the coverage of every group of ``grouping``, the one least often inside first."""
    groups: dict[str, list[Replayed]] = defaultdict(list)
    for each in replayed:
        groups[GROUPINGS[grouping](each.row)].append(each)
    found = (coverage(name, members) for name, members in groups.items())
    return sorted((each for each in found if each is not None), key=lambda each: (each.inside_90, each.name))


def coverage_cells(found: Coverage) -> tuple[str, ...]:
    """Return a group's cells: its name, then one for each of ``COVERAGE_COLUMNS``."""
    return (
        found.name,
        str(found.rows),
        f"{100 * found.inside_50:.0f} %",
        f"{100 * found.inside_90:.0f} %",
        f"± {100 * found.half_width:.0f} %",
    )
