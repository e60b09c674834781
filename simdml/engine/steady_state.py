"""How long a stochastic run has to be: where its start no longer matters, and how sure its mean is.

The warm-up is cut by MSER-5: of averages of five, the cut that minimises the standard error of what is left, at most
half of them (White, "An effective truncation heuristic for bias reduction in simulation output", Simulation 69(6),
1997; White, Cobb and Spratt, WSC 2000). The mean of the rest has a confidence interval from 20 batch means and
Student's t (Law and Kelton, Simulation Modeling and Analysis, section 9.5.3), widened where neighbouring batches are
still correlated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

GROUP: Final = 5
BATCHES: Final = 20
T_95_19: Final = 2.0930
"""97.5 % quantile of Student's t with 19 degrees of freedom (any table)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with the half width of its 95 % confidence interval.

    ``observations`` are those after ``cut`` were dropped; ``correlation`` is that of neighbouring batch means, and the
    interval is as wide as (1 + r) / (1 - r) times their variance says.
    """

    mean: float
    half_width: float
    observations: int
    cut: int
    correlation: float

    @property
    def relative_half_width(self) -> float:
        """Half width over mean."""
        return self.half_width / self.mean if self.mean else inf


def warm_up(series: Sequence[float]) -> int:
    """Return how many first values of ``series`` to drop by MSER-5."""
    averages = _averages(np.asarray(series, dtype=np.float64), GROUP)
    count = len(averages)
    if count < 4:
        return 0
    kept = count - np.arange(count // 2 + 1)
    sums, squares = (np.cumsum(values[::-1])[::-1][: len(kept)] for values in (averages, averages**2))
    error = (squares - sums**2 / kept) / kept**2
    return GROUP * int(np.argmin(np.maximum(error, 0.0)))


def estimate(series: Sequence[float], cycle: int = 1) -> Estimate:
    """Return the steady mean of ``series``; without a batch of at least two values its half width is infinite.

    Batches are whole cycles of ``cycle`` values where they are long enough, so that what repeats cancels.
    """
    cut = warm_up(series)
    kept = np.asarray(series[cut:], dtype=np.float64)
    size = len(kept) // BATCHES
    size -= size % cycle if size > cycle else 0
    mean = float(kept.mean()) if len(kept) else 0.0
    if size < 2:
        return Estimate(mean, inf, len(kept), cut, 0.0)
    kept = kept[len(kept) - size * BATCHES :]
    batches = _averages(kept, size)
    deviation = batches - batches.mean()
    variance = float((deviation**2).sum()) / (BATCHES - 1)
    correlation = float((deviation[1:] * deviation[:-1]).sum() / (deviation**2).sum()) if variance > 0 else 0.0
    # Batches that follow each other like an AR(1) process carry less than their number says.
    stretch = (1 + correlation) / (1 - correlation) if 0 < correlation < 1 else 1.0
    half_width = T_95_19 * (variance * stretch / BATCHES) ** 0.5
    return Estimate(float(kept.mean()), half_width, len(kept), cut, correlation)


def _averages(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    count = len(values) // size
    averages: NDArray[np.float64] = values[: count * size].reshape(count, size).mean(axis=1)
    return averages
