"""Sets and groups of kept rows scored: errors, layouts, memory, intervals, and how far rows could be predicted at all.

Two bounds on any prediction are computed from the rows alone. Rows of one scenario get one prediction, so that their
mean distance from their median is an error that no model of what the rows say can go below (the *floor*). And what is
left of a group's errors if all its predictions are multiplied by the one factor that suits the group best (the
*scatter*) is not a matter of one cost that is too small or too large, but of rows against each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final, TypeVar

from simdml.validation.runs.ranking import FEWEST, spearman
from simdml.validation.sets.definitions import Measure, PublishedSet, Reason, Target
from simdml.validation.sets.rows import KeptRow

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors of step time of some rows; fractions. ``bias`` is the median of signed ones, ``tail`` the 90th percentile.

    ``scatter`` is the mean that is left with the best factor for all of them.
    """

    rows: int
    mean: float
    median: float
    tail: float
    bias: float
    low: float
    high: float
    worst: KeptRow
    scatter: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target of a set and what was reached; ``value`` is None where no row tells."""

    target: Target
    value: float | None

    @property
    def met(self) -> bool:
        """Return whether the target is met."""
        return self.value is not None and self.target.met(self.value)


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of a set that were run alike, their errors, and the reasons found for these; ``floor`` as for a set."""

    name: str
    errors: Errors
    floor: float | None
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class ScoredSet:
    """A set with its rows, and all that follows from them."""

    published: PublishedSet
    rows: tuple[KeptRow, ...]
    errors: Errors | None
    verdicts: tuple[Verdict, ...]
    groups: tuple[Group, ...]

    @property
    def met(self) -> bool:
        """Return whether all targets are met."""
        return all(each.met for each in self.verdicts)

    @property
    def limit(self) -> float | None:
        """The mean error that is aimed at; None if none is."""
        targets = [each.target for each in self.verdicts if each.target.measure is Measure.MEAN_ERROR]
        return targets[0].at_most if targets else None

    @property
    def off(self) -> tuple[Group, ...]:
        """The groups that are off by more than the mean error that is aimed at, if the set is."""
        missed = any(each.target.measure is Measure.MEAN_ERROR and not each.met for each in self.verdicts)
        limit = self.limit or 0.0
        return tuple(group for group in self.groups if missed and group.errors.mean > limit)


def scored(published: PublishedSet, rows: Iterable[KeptRow]) -> ScoredSet:
    """Return a set scored on those of ``rows`` that belong to it."""
    own = tuple(row for row in rows if published.key in row.sets)
    verdicts = tuple(Verdict(target, MEASURES[target.measure](own)) for target in published.targets)
    return ScoredSet(published, own, errors_of(own), verdicts, _groups(published, own))


def errors_of(rows: Iterable[KeptRow]) -> Errors | None:
    """Return the errors of ``rows``; None if none was both measured and predicted."""
    found = [(row.error, row) for row in rows if row.error is not None]
    if not found:
        return None
    signed = sorted(error for error, _ in found)
    sizes = sorted(map(abs, signed))
    return Errors(
        len(found),
        fmean(sizes),
        median(sizes),
        sizes[min(len(sizes) - 1, int(0.9 * len(sizes)))],
        median(signed),
        signed[0],
        signed[-1],
        max(found, key=lambda pair: abs(pair[0]))[1],
        scatter([1 + error for error in signed]),
    )


def scatter(ratios: Sequence[float]) -> float:
    """Return the least mean of ``abs(factor * ratio - 1)`` over all factors: at the inverse of one of the ratios."""
    return min(fmean(abs(ratio / pivot - 1) for ratio in ratios) for pivot in ratios)


def floor(rows: Iterable[KeptRow]) -> tuple[int, float] | None:
    """Return how many rows share a scenario with others, and their mean error at the best prediction of each scenario.

    None if none do. The best prediction of a scenario is the one of least mean error, which is among the measured.
    """
    groups = grouped(((row.table, row.alike), row) for row in rows if row.alike and row.measured_s)
    groups = {name: members for name, members in groups.items() if len(members) > 1}
    errors = [error for members in groups.values() for error in _best([row.measured_s or 0.0 for row in members])]
    return (len(errors), fmean(errors)) if errors else None


def _best(times: Sequence[float]) -> list[float]:
    """Return the errors of the measured time that is the best prediction of all ``times``."""
    return min(([abs(each / time - 1) for time in times] for each in times), key=fmean)


def grouped(pairs: Iterable[tuple[Key, KeptRow]]) -> dict[Key, list[KeptRow]]:
    """Return rows by key, in order."""
    groups: dict[Key, list[KeptRow]] = defaultdict(list)
    for key, row in pairs:
        groups[key].append(row)
    return dict(groups)


def _groups(published: PublishedSet, rows: Iterable[KeptRow]) -> tuple[Group, ...]:
    found = []
    for name, members in grouped((row.group, row) for row in rows).items():
        errors, least = errors_of(members), floor(members)
        if errors is not None:
            reasons = tuple(reason for reason in published.reasons if reason.holds_for(name))
            found.append(Group(name, errors, None if least is None else least[1], reasons))
    return tuple(sorted(found, key=lambda group: (-group.errors.mean * group.errors.rows, group.name)))


def layout_groups(rows: Iterable[KeptRow]) -> list[list[KeptRow]]:
    """Return the groups of rows that differ in layout alone."""
    groups = grouped(((row.table, row.layouts), row) for row in rows if row.layouts and row.error is not None)
    return [members for members in groups.values() if len(members) >= FEWEST]


def regret(members: Sequence[KeptRow]) -> float:
    """Return how much slower the layout that is predicted fastest was measured than the fastest one."""
    chosen = min(members, key=lambda row: row.predicted_s or 0.0)
    return (chosen.measured_s or 0.0) / min(row.measured_s or 0.0 for row in members) - 1


def _mean_error(rows: Sequence[KeptRow]) -> float | None:
    errors = errors_of(rows)
    return None if errors is None else errors.mean


def _mean_regret(rows: Sequence[KeptRow]) -> float | None:
    return _mean(map(regret, layout_groups(rows)))


def _rank_correlation(rows: Sequence[KeptRow]) -> float | None:
    return _mean(
        spearman([row.measured_s or 0.0 for row in members], [row.predicted_s or 0.0 for row in members])
        for members in layout_groups(rows)
    )


def _memory_side(rows: Sequence[KeptRow]) -> float | None:
    return _mean(float(row.ran == row.fits) for row in rows if row.ran is not None and row.fits is not None)


def _memory_error(rows: Sequence[KeptRow]) -> float | None:
    found = [abs(row.memory_error) for row in rows if row.memory_error is not None]
    return median(found) if found else None


def _inside(level: int) -> Callable[[Sequence[KeptRow]], float | None]:
    return lambda rows: _mean(float(0 < row.inside <= level) for row in rows if row.inside is not None)


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return fmean(found) if found else None


MEASURES: Final[Mapping[Measure, Callable[[Sequence[KeptRow]], float | None]]] = {
    Measure.MEAN_ERROR: _mean_error,
    Measure.MEAN_REGRET: _mean_regret,
    Measure.RANK_CORRELATION: _rank_correlation,
    Measure.MEMORY_SIDE: _memory_side,
    Measure.MEMORY_ERROR: _memory_error,
    Measure.INSIDE_50: _inside(50),
    Measure.INSIDE_90: _inside(90),
}
"""How a measure is taken of rows; None where none of them tells."""
