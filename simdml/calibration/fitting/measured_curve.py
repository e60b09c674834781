"""Seconds by size between measured sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class MeasuredCurve:
    """Measured ``seconds`` at ascending ``sizes``; between two of them time is a latency plus bytes over a rate.

    Beyond the ends the first and last pieces go on; below the smallest size time never falls under the smallest.
    """

    sizes: tuple[float, ...]
    seconds: tuple[float, ...]

    def at(self, size_bytes: float) -> float:
        """Return the seconds of a transfer of ``size_bytes``."""
        if len(self.sizes) > 1 and size_bytes > self.sizes[-1]:
            (low, high), (before, after) = self.sizes[-2:], self.seconds[-2:]
            rate = max(after - before, 0.0) / (high - low)
            return after + rate * (size_bytes - high)
        return float(np.interp(size_bytes, self.sizes, self.seconds))


def measured_curve(points: Sequence[tuple[float, float]]) -> MeasuredCurve:
    """Return the curve through (bytes, seconds); sizes measured several times count with their median.

    Raises ValueError without points.
    """
    by_size: dict[float, list[float]] = {}
    for size, seconds in sorted(points):
        by_size.setdefault(size, []).append(seconds)
    if not by_size:
        raise ValueError("a curve needs at least one measured size")
    return MeasuredCurve(tuple(by_size), tuple(float(np.median(times)) for times in by_size.values()))


def interpolation_errors(points: Sequence[tuple[float, float]], least_bytes: float) -> list[float]:
    """Return relative errors at every other size of a curve through the rest, for sizes from ``least_bytes`` on.

    Both halves take their turn; sizes outside the range of the rest are left out.
    """
    whole = measured_curve(points)
    pairs = list(zip(whole.sizes, whole.seconds, strict=True))
    errors = []
    for start in (0, 1):
        kept = pairs[start::2]
        if len(kept) < 2:
            continue
        curve = measured_curve(kept)
        for size, seconds in pairs[1 - start :: 2]:
            if size >= least_bytes and kept[0][0] < size < kept[-1][0]:
                errors.append(curve.at(size) / seconds - 1.0)
    return errors
