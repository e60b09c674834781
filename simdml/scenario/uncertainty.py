"""What the uncertainty of a step comes from: its paths, the fits of its costs, and where it leaves their range."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from math import inf, isfinite, sqrt

from simdml.calibration.cost_groups import GROUP_OF_FAMILY, CostGroup
from simdml.engine.simulator import Recording
from simdml.results.exposure import exposure
from simdml.results.pricing import Kernel
from simdml.results.uncertainty import NORMAL_95, Basis
from simdml.scenario.building import Built
from simdml.scenario.doubts import collective_fits, doublings_beyond, doubts


def basis_of(built: Built) -> Callable[[Recording], Basis]:
    """Return what makes the basis of the uncertainty of a run of ``built``."""
    return partial(_basis, built)


def _basis(built: Built, recording: Recording) -> Basis:
    exposed = exposure(recording, built.costs)
    return Basis(
        paths=tuple({group: seconds / exposed.step_s for group, seconds in path.items()} for path in exposed.paths),
        residual=_kernel_residuals(built, exposed.kernel_s) | _collective_residuals(built, exposed.payload_bytes),
        carried_over=doubts(built, exposed),
        doublings=doublings_beyond(built),
        sampling=_sampling(recording),
    )


def _kernel_residuals(built: Built, kernel_s: Mapping[Kernel, float]) -> dict[CostGroup, float]:
    """Return the residual spread of each group of kernels.

    Residuals of a fit are what kernels differ in from each other, so that different kernels of a step are independent;
    what they have in common is seen in whole steps alone (:mod:`simdml.calibration.spreads`).
    """
    seconds: dict[CostGroup, float] = defaultdict(float)
    squares: dict[CostGroup, float] = defaultdict(float)
    for (family, *_), spent in kernel_s.items():
        group = GROUP_OF_FAMILY[family]
        seconds[group] += spent
        squares[group] += (spent * built.profile.spread.get(family, 0.0)) ** 2
    return {group: sqrt(squares[group]) / total for group, total in seconds.items() if total}


def _collective_residuals(built: Built, payload_bytes: Mapping[CostGroup, float]) -> dict[CostGroup, float]:
    """Return the residual spread of collectives at the size of the largest, which take longest."""
    return {
        group: provenance.log_spread(payload_bytes.get(group, inf))
        for group, provenance in collective_fits(built).items()
    }


def _sampling(recording: Recording) -> float:
    """Return how uncertain the mean of a random job is, relative to it; nothing where too few steps are known."""
    found = recording.estimate
    if found is None or not isfinite(found.half_width):
        return 0.0
    return found.half_width / NORMAL_95 / found.mean
