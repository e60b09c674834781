"""What is not as it should be while a job runs: slow GPUs, slow links, kernels of varying length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simdml.program.instructions import Activity


class Alike(NamedTuple):
    """Ranks of one program class on devices of one name, whose kernels take the same factor longer."""

    program_class: int
    device: str
    slowdown: float


@dataclass(frozen=True, slots=True)
class Slowing:
    """By what factors matrix products and other kernels of an activity take longer, with collectives beside them."""

    activity: Activity
    products: float
    others: float


@dataclass(frozen=True, slots=True)
class Conditions:
    """Deviations from a cluster's profile; without any, every device and link is as good as the next.

    ``slow_gpus`` gives the factor by which every kernel of a GPU takes longer, ``link_bytes_per_s`` what is left of a
    link's capacity. With ``jitter_cv`` the kernels of a rank take longer or shorter by a factor drawn anew for every
    rank and step from a lognormal distribution of mean 1 and that coefficient of variation. ``beside`` says how
    much longer kernels of some ranks take for the collectives that run beside them.
    """

    slow_gpus: Mapping[int, float] = field(default_factory=dict)
    link_bytes_per_s: Mapping[int, float] = field(default_factory=dict)
    jitter_cv: float = 0.0
    seed: int = 0
    beside: Mapping[Alike, tuple[Slowing, ...]] = field(default_factory=dict)

    def slowdown(self, gpu: int) -> float:
        """Return the factor by which kernels of ``gpu`` take longer."""
        return self.slow_gpus.get(gpu, 1.0)

    def slowdowns(self, gpus: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return :meth:`slowdown` of every one of ``gpus``."""
        factors = np.ones(len(gpus))
        if self.slow_gpus:
            slow = np.array(sorted(self.slow_gpus), dtype=np.int64)
            each = np.array([self.slow_gpus[gpu] for gpu in slow.tolist()])
            place = np.minimum(np.searchsorted(slow, gpus), len(slow) - 1)
            factors = np.where(slow[place] == gpus, each[place], factors)
        return factors

    def capacities(self, links: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the capacities of all links (bytes/s), those of slow ones replaced."""
        if not self.link_bytes_per_s:
            return links
        capacities = np.array(links, dtype=np.float64)
        for link, capacity in self.link_bytes_per_s.items():
            capacities[link] = capacity
        return capacities

    def jitter(self, rank: int) -> Jitter | None:
        """Return the factors of ``rank``, None where kernels always take as long."""
        return Jitter(self.jitter_cv, self.seed, rank) if self.jitter_cv > 0 else None


AS_RATED = Conditions()
DRAWN_AHEAD = 32
"""So many factors are drawn at once: one by one, each takes ten times as long."""


class Jitter:
    """Lognormal factors of mean 1 and coefficient of variation ``cv``: sigma^2 = ln(1 + cv^2), mu = -sigma^2 / 2."""

    def __init__(self, cv: float, seed: int, rank: int) -> None:
        self._sigma = sqrt(log(1 + cv * cv))
        self._draws = np.random.default_rng((seed, rank))
        self._ahead: list[float] = []

    def next(self) -> float:
        """Return the next step's factor."""
        if not self._ahead:
            drawn = self._draws.lognormal(-self._sigma * self._sigma / 2, self._sigma, DRAWN_AHEAD)
            self._ahead = drawn[::-1].tolist()
        return self._ahead.pop()
