"""The Pareto front: results that no other beats in everything at once."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

Item = TypeVar("Item")


def front(items: Iterable[tuple[Sequence[float], Item]]) -> list[Item]:
    """Return the items whose costs no other item has all as small and one smaller; the first of equal ones.

    Sorted by the first cost.
    """
    every = sorted(items, key=lambda item: tuple(item[0]))
    kept: list[tuple[Sequence[float], Item]] = []
    for costs, item in every:
        if not any(all(a <= b for a, b in zip(other, costs, strict=True)) for other, _ in kept):
            kept.append((costs, item))
    return [item for _, item in kept]


@dataclass(slots=True)
class Staircase:
    """A growing front of two costs, which says what can still add to it."""

    first: list[float] = field(default_factory=list)
    second: dict[float, float] = field(default_factory=dict)

    def covers(self, first: float, second: float) -> bool:
        """Whether a point of the front is as good or better in both costs."""
        index = bisect_right(self.first, first)
        return index > 0 and self.second[self.first[index - 1]] <= second

    def add(self, first: float, second: float) -> None:
        """Add a point, and drop those it covers."""
        if self.covers(first, second):
            return
        for other in [each for each in self.first if each >= first and self.second[each] >= second]:
            self.first.remove(other)
            del self.second[other]
        insort(self.first, first)
        self.second[first] = second
