"""GPUs of one kind that are not equally fast: ranks that wait for each other are as fast as the slowest of them."""

from __future__ import annotations

from functools import lru_cache
from math import erf, sqrt

import numpy as np

from simdml.errors import DocumentError
from simdml.program.program import Program
from simdml.program.servers import in_lockstep
from simdml.scenario.loading import Scenario

_REACH, _POINTS = 9.0, 4001


@lru_cache(maxsize=64)
def expected_maximum(count: int) -> float:
    """Return the mean of the largest of ``count`` independent standard normal numbers.

    It is the integral of 1 - F^n above zero less that of F^n below (David and Nagaraja, "Order Statistics", section
    3.1), 0 of one number, and approaches sqrt(2 ln n) from below: 1.42 of 8, 3.24 of 1,000.
    """
    points = np.linspace(-_REACH, _REACH, _POINTS)
    below = np.array([0.5 * (1.0 + erf(point / sqrt(2.0))) for point in points.tolist()])
    tail = np.where(points > 0, 1.0, 0.0) - below**count
    tail[_POINTS // 2] = 0.5 - 0.5**count
    return float(np.trapezoid(tail, points))


def skew_factor(skew: float, gpus: int) -> float:
    """Return how many times longer kernels take on the slowest of ``gpus`` whose times have that standard deviation."""
    return 1.0 + skew * expected_maximum(gpus)


def refuse_skew(scenario: Scenario, program: Program) -> None:
    """Refuse a skew of workers that do not wait for each other: the slowest does not set their pace.

    Raises:
        DocumentError: some servers are asynchronous.
    """
    loose = [server for server in program.servers if not in_lockstep(server.consistency)]
    for index, fault in enumerate(scenario.spec.faults if loose else ()):
        if hasattr(fault, "skew"):
            raise DocumentError(
                "skew is of a job whose ranks wait for each other, and these workers do not",
                place=scenario.document.place(("faults", index)),
                hint='write {jitter: lognormal, cv: 0.05}, or {slow: "2 % of gpus", by: 1.2}',
            )
