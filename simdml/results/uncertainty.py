"""How sure a step is: a median, and intervals that contain the measured step half of the time and nine times in ten.

The seconds of every group of costs are off by a common factor, whose logarithm is spread around 0; a whole step is off
by one more. All of them together are drawn from a multivariate Student t distribution: normal ones whose spread is not
known itself (Lange, Little and Taylor, "Robust Statistical Modeling Using the t Distribution", JASA 84(408), 1989). A
drawn step is the longest of its paths, each re-added with the drawn factors (see :mod:`simdml.results.exposure`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import exp, hypot, log, pi, sqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simdml.calibration.cost_groups import CostGroup
from simdml.calibration.spreads import Spreads, load_spreads

DRAWS: Final = 4096
"""Draws behind an interval, the same ones for every step."""

_PRIMES: Final = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53)

FEWEST_SAMPLES: Final = 20
"""Below it a simulation with drawn costs says nothing about the ends of a 90 % interval."""

NORMAL_95: Final = 1.96
"""95 % of a normal distribution lie within so many standard deviations of its mean."""

STEP: Final = "whole step"
QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
Path = Mapping[CostGroup, float]
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Basis:
    """What the uncertainty of a step comes from.

    ``paths`` are the paths that can decide how long it is, as parts of the step by group, the critical one first.
    ``residual`` are the residual spreads of the fits of a group, ``carried_over`` the reasons why coefficients of a
    group are less certain than where they were fitted. ``doublings`` are how often the ranks double those that
    collectives were measured with, ``sampling`` is the logarithmic spread of the simulated mean of a random job.
    """

    paths: tuple[Path, ...]
    residual: Mapping[CostGroup, float] = field(default_factory=dict)
    carried_over: Mapping[CostGroup, tuple[str, ...]] = field(default_factory=dict)
    doublings: float = 0.0
    sampling: float = 0.0

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Basis:
        """Return the basis that ``dataclasses.asdict`` made ``data`` of; raises KeyError, TypeError or ValueError."""
        return cls(
            tuple(_by_group(path) for path in data["paths"]),
            _by_group(data["residual"]),
            {CostGroup(group): tuple(reasons) for group, reasons in data["carried_over"].items()},
            data["doublings"],
            data["sampling"],
        )

    def spread(self, group: CostGroup, spreads: Spreads) -> float:
        """Return the logarithmic spread of a group's seconds."""
        carried = spreads.carried_over.value if group in self.carried_over else 0.0
        return hypot(self.residual.get(group, 0.0), spreads.groups[group].value, carried)

    def step_spread(self, spreads: Spreads) -> float:
        """Return the logarithmic spread of what the groups do not have."""
        return hypot(spreads.step.value, self.doublings * spreads.doubling.value, self.sampling)


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one group of costs adds: its ``share`` of the critical path, its own spread, and that of the step it causes.

    Spreads are standard deviations of logarithms; ``reasons`` say why it is wider than where it was fitted.
    """

    name: str
    share: float
    log_spread: float
    step_log_spread: float
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """The distribution of a step of ``step_s`` seconds, and what it comes from, largest first."""

    step_s: float
    median_s: float
    interval_50_s: Interval
    interval_90_s: Interval
    contributions: tuple[Contribution, ...]

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Uncertainty:
        """Return what ``dataclasses.asdict`` made ``data`` of; raises KeyError, TypeError or ValueError."""
        low, high = data["interval_90_s"]
        lower, higher = data["interval_50_s"]
        parts = (Contribution(**{**each, "reasons": tuple(each["reasons"])}) for each in data["contributions"])
        return cls(data["step_s"], data["median_s"], (lower, higher), (low, high), tuple(parts))

    def interval_s(self, percent: int) -> Interval:
        """Return the interval that contains so many percent: 50 or 90."""
        return {50: self.interval_50_s, 90: self.interval_90_s}[percent]


def _by_group(data: Mapping[str, float]) -> dict[CostGroup, float]:
    return {CostGroup(group): value for group, value in data.items()}


def uncertainty(step_s: float, basis: Basis, spreads: Spreads | None = None) -> Uncertainty:
    """Return how sure a step is whose uncertainty comes from ``basis`` and ``spreads``, by default the bundled ones."""
    spreads = spreads or load_spreads()
    low, lower, median, higher, high = (step_s * each for each in _quantiles(drawn(basis, spreads)))
    return Uncertainty(step_s, median, (lower, higher), (low, high), _contributions(basis, spreads))


def drawn(basis: Basis, spreads: Spreads, draws: int = DRAWS) -> NDArray[np.float64]:
    """Return steps drawn from their distribution, as multiples of the prediction."""
    normal, step = deviates(spreads.tail.value, draws)
    used = sorted({group for path in basis.paths for group in path})
    rows = [list(CostGroup).index(group) for group in used]
    own = np.array([basis.spread(group, spreads) for group in used])
    factors = np.exp(own[:, np.newaxis] * normal[rows])
    weights = np.array([[path.get(group, 0.0) for group in used] for path in basis.paths])
    # What no group has priced, such as waiting for nothing in particular, stays as it is.
    rest = 1.0 - weights[0].sum()
    longest: NDArray[np.float64] = (weights @ factors).max(axis=0) + rest
    return longest * np.exp(basis.step_spread(spreads) * step)


@cache
def deviates(tail: float, draws: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Student's deviates of ``tail`` degrees of freedom: by group and of the step, each with its negative.

    Those of one draw are stretched alike. They depend on the list of groups alone, so that equal jobs have equal
    intervals.
    """
    normal = _normal(len(CostGroup) + 2, draws // 2)
    # Wilson and Hilferty, "The Distribution of Chi-Square", PNAS 17(12), 1931: its cube root is nearly normal.
    cube_root = np.maximum(1 - 2 / (9 * tail) + normal[-1] * sqrt(2 / (9 * tail)), 0.05)
    half = normal[:-1] / cube_root**1.5
    both = np.concatenate([half, -half], axis=1)
    return both[:-1], both[-1]


def _normal(dimensions: int, count: int) -> NDArray[np.float64]:
    """Return ``count`` normal deviates in each of ``dimensions``, evenly spread rather than random.

    Richtmyer's sequence, multiples of roots of primes modulo 1 (Niederreiter, "Random Number Generation and Quasi-Monte
    Carlo Methods", 1992, section 3.1), by the transform of Box and Muller (1958).
    """
    pairs = -(-dimensions // 2)
    roots = np.sqrt(np.array(_PRIMES[: 2 * pairs], dtype=np.float64))
    first, second = np.split(np.outer(roots, np.arange(1, count + 1)) % 1.0, 2)
    length = np.sqrt(-2 * np.log1p(-first))
    return np.concatenate([length * np.cos(2 * pi * second), length * np.sin(2 * pi * second)])[:dimensions]


def _quantiles(values: NDArray[np.float64]) -> list[float]:
    """Return ``QUANTILES`` of ``values``, between neighbours where they fall; numpy's own loads masked arrays."""
    ordered = np.sort(values)
    found: list[float] = np.interp(np.array(QUANTILES) * (ordered.size - 1), np.arange(ordered.size), ordered).tolist()
    return found


def _contributions(basis: Basis, spreads: Spreads) -> tuple[Contribution, ...]:
    used = sorted({group for path in basis.paths for group in path})
    found = [
        Contribution(
            group.words,
            basis.paths[0].get(group, 0.0),
            own := basis.spread(group, spreads),
            _slower(basis.paths, group, exp(own)),
            basis.carried_over.get(group, ()),
        )
        for group in used
    ]
    whole = basis.step_spread(spreads)
    reasons = (f"{2**basis.doublings:.3g} times the ranks that were measured",) if basis.doublings else ()
    found.append(Contribution(STEP, 1.0, whole, whole, reasons))
    return tuple(sorted(found, key=lambda each: (-each.step_log_spread, each.name)))


def _slower(paths: Sequence[Path], group: CostGroup, factor: float) -> float:
    """Return by how much, in logarithms, the step is longer if a group takes ``factor`` times as long."""
    rest = 1.0 - sum(paths[0].values())
    return log(rest + max(sum(path.values()) + (factor - 1) * path.get(group, 0.0) for path in paths))
