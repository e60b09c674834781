"""Spreads of whole steps by group of costs, from published runs.

A row is a measured step and the basis of its prediction's uncertainty. Spreads are those with which the intervals score
best: the pinball loss of the four ends of the 50 % and 90 % intervals, a proper score (Gneiting and Raftery, "Strictly
Proper Scoring Rules, Prediction, and Estimation", JASA 102(477), 2007, section 6.2). All estimates are then scaled
together, so that the 90 % intervals contain 90 % of the rows (as in Romano et al., "Conformalized Quantile Regression",
arXiv 1905.03222), and of a few tails the one is taken whose 50 % intervals contain nearest to half of them. Rows of one
source are alike, so that each weighs one over the root of their number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simdml.calibration.cost_groups import CostGroup
from simdml.results.uncertainty import Basis, deviates

Array = NDArray[np.float64]
Estimates = Mapping[str, float]

STEP, CARRIED, DOUBLING = "step", "carried_over", "doubling"
USUAL: Final[Estimates] = {
    CostGroup.PRODUCTS: 0.05,
    CostGroup.ATTENTION: 0.15,
    CostGroup.CONVOLUTIONS: 0.1,
    CostGroup.STREAMS: 0.1,
    CostGroup.LAUNCHES: 0.3,
    CostGroup.NODE: 0.1,
    CostGroup.NETWORK: 0.15,
    CostGroup.COPIES: 0.2,
    CostGroup.SERVERS: 0.2,
    CostGroup.INPUT: 0.3,
    STEP: 0.05,
    CARRIED: 0.1,
    DOUBLING: 0.02,
}
"""Estimates from which a fit starts and to which it is held, by little: they stand where rows say nothing."""

HELD: Final = 5e-4
"""What a squared logarithm of an estimate over its usual value adds to the score."""

ROWS_OF_A_SOURCE: Final = 30
DRAWS: Final = 256
QUANTILES: Final = (0.05, 0.25, 0.75, 0.95)
LEAST, MOST = 0.003, 1.2
TAILS: Final = (3.0, 4.0, 5.0, 7.0, 10.0, 20.0)
TOLD_BY: Final = 0.1
"""A group whose part of the step is at least so large in rows of two sources is estimated, else it is as usual."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A measured step over its prediction, as a logarithm, and what the prediction's uncertainty comes from."""

    source: str
    log_ratio: float
    basis: Basis


@dataclass(frozen=True, slots=True)
class SpreadFit:
    """Spreads by group and of the step, the tail they were fitted with, and which of them rows tell.

    ``score`` is the mean pinball loss, before all were scaled; ``inside_50`` of the rows lie in their 50 % intervals.
    """

    spreads: Estimates
    tail: float
    told: frozenset[str]
    score: float
    inside_50: float


class Sample:
    """Observations as arrays, with the draws of one ``tail``."""

    def __init__(self, observations: Sequence[Observation], tail: float) -> None:
        groups = list(CostGroup)
        most = max(len(each.basis.paths) for each in observations)
        self.paths = np.zeros((len(observations), most, len(groups)))
        self.residual, self.carried = (np.zeros((len(observations), len(groups))) for _ in range(2))
        for row, each in enumerate(observations):
            for number, path in enumerate(each.basis.paths):
                for group, part in path.items():
                    self.paths[row, number, groups.index(group)] = part
            for group, spread in each.basis.residual.items():
                self.residual[row, groups.index(group)] = spread
            for group in each.basis.carried_over:
                self.carried[row, groups.index(group)] = 1.0
        self.rest = 1.0 - self.paths[:, 0].sum(axis=1)
        self.doublings = np.array([each.basis.doublings for each in observations])
        self.sampling = np.array([each.basis.sampling for each in observations])
        self.log_ratio = np.array([each.log_ratio for each in observations])
        self.sources = [each.source for each in observations]
        counts = {source: self.sources.count(source) for source in set(self.sources)}
        self.weight = np.array([counts[source] ** -0.5 for source in self.sources])
        self.weight /= self.weight.sum()
        self.normal, self.step = deviates(tail, DRAWS)

    def quantiles(self, spreads: Estimates, levels: Sequence[float] = QUANTILES) -> Array:
        """Return ends of intervals, as logarithms of multiples of the prediction: a row a level, a column a row."""
        between = np.array([spreads[group] for group in CostGroup])
        own = np.sqrt(self.residual**2 + between**2 + (self.carried * spreads[CARRIED]) ** 2)
        factors = np.exp(own[:, :, np.newaxis] * self.normal)
        longest = np.full((len(self.rest), self.step.size), -np.inf)
        for number in range(self.paths.shape[1]):
            some = self.paths[:, number].any(axis=1)
            length = np.einsum("rg,rgn->rn", self.paths[some, number], factors[some])
            longest[some] = np.maximum(longest[some], length)
        step = np.sqrt(spreads[STEP] ** 2 + (self.doublings * spreads[DOUBLING]) ** 2 + self.sampling**2)
        drawn = np.log(longest + self.rest[:, np.newaxis]) + step[:, np.newaxis] * self.step
        found: Array = np.quantile(drawn, levels, axis=1)
        return found

    def score(self, spreads: Estimates) -> float:
        """Return the mean pinball loss, and what holds estimates to usual values."""
        levels = np.array(QUANTILES)[:, np.newaxis]
        off = self.log_ratio - self.quantiles(spreads)
        loss = np.maximum(levels * off, (levels - 1) * off).mean(axis=0)
        held = sum(np.log(value / USUAL[name]) ** 2 for name, value in spreads.items())
        return float((self.weight * loss).sum() + HELD * held)

    def inside(self, spreads: Estimates) -> tuple[Array, Array]:
        """Return which rows lie in their 50 % and in their 90 % intervals."""
        low, lower, higher, high = self.quantiles(spreads)
        ratio = self.log_ratio
        return (ratio >= lower) & (ratio <= higher), (ratio >= low) & (ratio <= high)


def fit_spreads(observations: Sequence[Observation], tails: Sequence[float] = TAILS) -> SpreadFit:
    """Return the spreads that score best, with the tail of ``tails`` at which intervals contain what they should."""
    rows = thinned(observations)
    told = _told(rows)
    return min((_fit(Sample(rows, tail), tail, told) for tail in tails), key=lambda fit: abs(fit.inside_50 - 0.5))


def _fit(sample: Sample, tail: float, told: frozenset[str]) -> SpreadFit:
    best, score = _descend(sample, USUAL)
    spreads = _scaled(sample, best, told)
    half, _ = sample.inside(spreads)
    return SpreadFit(spreads, tail, told, score, float((sample.weight * half).sum()))


def thinned(observations: Iterable[Observation]) -> list[Observation]:
    """Return at most ``ROWS_OF_A_SOURCE`` rows of every source, evenly spread."""
    by_source: dict[str, list[Observation]] = defaultdict(list)
    for each in observations:
        by_source[each.source].append(each)
    kept = []
    for members in by_source.values():
        count = min(ROWS_OF_A_SOURCE, len(members))
        kept += [members[number * len(members) // count] for number in range(count)]
    return kept


def _descend(sample: Sample, start: Estimates, sweeps: int = 5) -> tuple[dict[str, float], float]:
    """Return estimates of the lowest score near ``start``, one after another turned by ever smaller factors."""
    spreads, best, turn = dict(start), sample.score(start), 0.6
    for _ in range(sweeps):
        for name in USUAL:
            for factor in (np.exp(turn), np.exp(-turn)):
                while True:
                    tried = spreads | {name: float(np.clip(spreads[name] * factor, LEAST, MOST))}
                    score = sample.score(tried)
                    if score >= best - 1e-9:
                        break
                    spreads, best = tried, score
        turn *= 0.6
    return spreads, best


def _scaled(sample: Sample, spreads: Estimates, told: Iterable[str]) -> dict[str, float]:
    """Return estimates times the factor with which 90 % of the rows, as they weigh, lie in their 90 % intervals."""
    low, high = 0.3, 3.0
    for _ in range(12):
        factor = (low * high) ** 0.5
        _, inside = sample.inside(_times(spreads, factor, told))
        low, high = (factor, high) if (sample.weight * inside).sum() < 0.9 else (low, factor)
    return _times(spreads, high, told)


def _times(spreads: Estimates, factor: float, told: Iterable[str]) -> dict[str, float]:
    return dict(spreads) | {name: spreads[name] * factor for name in told}


def _told(rows: Sequence[Observation]) -> frozenset[str]:
    """Return which estimates the rows of at least two sources tell."""
    sources: dict[str, set[str]] = defaultdict(set)
    for each in rows:
        longest = {group: max(path.get(group, 0.0) for path in each.basis.paths) for group in CostGroup}
        for group, part in longest.items():
            if part >= TOLD_BY:
                sources[group].add(each.source)
                if group in each.basis.carried_over:
                    sources[CARRIED].add(each.source)
        sources[STEP].add(each.source)
        if each.basis.doublings:
            sources[DOUBLING].add(each.source)
    return frozenset(name for name, found in sources.items() if len(found) >= 2)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A source, the ``fit`` to all others, and how many of its ``rows`` lie in the intervals of that."""

    source: str
    rows: int
    inside_50: float
    inside_90: float
    fit: SpreadFit


def leave_one_out(observations: Sequence[Observation], tails: Sequence[float] = TAILS) -> list[LeftOut]:
    """Return the coverage of every source by a fit to all others.

    Nothing of a source is in what it is compared with: neither spreads, nor the tail, nor which of them rows tell.
    """
    return [leave_out(source, observations, tails) for source in sorted({each.source for each in observations})]


def leave_out(source: str, observations: Sequence[Observation], tails: Sequence[float] = TAILS) -> LeftOut:
    """Return the coverage of ``source`` by a fit to all others."""
    fit = fit_spreads([each for each in observations if each.source != source], tails)
    own = Sample([each for each in observations if each.source == source], fit.tail)
    half, most = own.inside(fit.spreads)
    return LeftOut(source, len(own.sources), float(half.mean()), float(most.mean()), fit)
