"""Published sets of runs, what is asked of them, and the reasons found for what misses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from simdml.validation.runs.reading import Row


class Measure(StrEnum):
    """What a target is on; all but the rank correlation are fractions.

    Errors are those of step time over measured ones. The regret and the rank correlation are means over the groups of
    runs that differ in layout alone (:mod:`simdml.validation.runs.ranking`).
    """

    MEAN_ERROR = "mean error"
    MEAN_REGRET = "mean regret"
    RANK_CORRELATION = "rank correlation"
    MEMORY_SIDE = "memory on the right side"
    MEMORY_ERROR = "median error of peak memory"
    INSIDE_50 = "inside 50 % intervals"
    INSIDE_90 = "inside 90 % intervals"


@dataclass(frozen=True, slots=True)
class Target:
    """The range that a measure shall lie in."""

    measure: Measure
    at_least: float
    at_most: float

    def met(self, value: float) -> bool:
        """Return whether ``value`` lies in the range."""
        return self.at_least <= value <= self.at_most


@dataclass(frozen=True, slots=True)
class Reason:
    """Why rows of some groups are off: ``groups`` is a pattern of their names, ``because`` the sentence.

    Without a pattern it is a remark on the whole set, and no group's reason.
    """

    groups: str
    because: str

    def holds_for(self, group: str) -> bool:
        """Return whether it is a reason for the rows of ``group``."""
        return bool(self.groups) and re.search(self.groups, group) is not None


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was fitted to rows of the groups that match ``groups``: their errors are no predictions."""

    groups: str
    what: str

    def holds_for(self, group: str) -> bool:
        """Return whether rows of ``group`` were used."""
        return re.search(self.groups, group) is not None


@dataclass(frozen=True, slots=True)
class PublishedSet:
    """Rows of one table, or of all: those whose cells match all patterns of ``where``, in all ranges.

    Numbers are at least those of ``least`` and below those of ``below``. ``key`` stands for it in the file of rows.
    """

    key: str
    name: str
    table: str | None
    where: Mapping[str, str]
    least: Mapping[str, float]
    below: Mapping[str, float]
    targets: tuple[Target, ...]
    reasons: tuple[Reason, ...]
    fitted: tuple[Fitted, ...] = ()

    def has(self, table: str, row: Row) -> bool:
        """Return whether ``row`` of ``table`` belongs to it."""
        if self.table is not None and self.table != table:
            return False
        return (
            all(re.search(pattern, row.text(column)) for column, pattern in self.where.items())
            and all((row.number(column) or 0.0) >= end for column, end in self.least.items())
            and all((row.number(column) or 0.0) < end for column, end in self.below.items())
        )


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """A table: its file's name without ``.csv``, who published it, and the columns by which its rows are grouped.

    Runs count where intervals are checked; collectives do not.
    """

    name: str
    source: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Definitions:
    """All tables and sets."""

    tables: Mapping[str, PublishedTable]
    sets: tuple[PublishedSet, ...]


LAYOUT: Final = "layout"
"""Groups by it are of one layout: it stands for the columns of all axes."""

_WORDS: Final = {
    "num_gpus": "{} GPU{}",
    "hidden": "hidden {}",
    "tp": "tp {}",
    "pp": "pp {}",
    "micro_batch": "micro-batch {}",
    "seq_len": "{} tokens",
}
"""What a number is of, for columns whose values do not tell."""

_AXES: Final = ("tp", "pp", "cp", "ep", "dp")


def group_name(row: Row, columns: tuple[str, ...]) -> str:
    """Return the name of the group of a row: what its columns say."""
    return ", ".join(filter(None, (_cell(row, column) for column in columns))) or "not stated"


def _cell(row: Row, column: str) -> str:
    if column == LAYOUT:
        return " ".join(f"{axis}{row.text(axis)}" for axis in _AXES if (row.number(axis) or 1) > 1) or "one way"
    text = row.text(column)
    if not text or column not in _WORDS:
        return text
    return _WORDS[column].format(text, "" if text == "1" else "s")
