"""How sure a predicted step is, as far as measurement says: the residual spread of the profiles, carried to the step.

Profiles and communication fits keep the standard deviation of ln(measured / predicted) of single kernels and
collectives. Each family is made slower by one standard deviation, all its kernels together, and the step simulated
again; the changes of ln(step) are added in quadrature, as independent errors (first-order propagation: JCGM 100:2008,
"Guide to the expression of uncertainty in measurement", equation 10). Kernels of one family do not err alike, so that
on whole steps the interval is wide rather than narrow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import exp, log, sqrt
from typing import Final

from simdml.calibration.communication import CommunicationFit
from simdml.costs.collectives.gloo import GlooCost
from simdml.costs.collectives.nccl import NcclCost
from simdml.costs.collectives.plan import CollectiveCost
from simdml.costs.compute import ComputeCost, RooflineCost
from simdml.program.instructions import Compute, Instruction, Portions
from simdml.scenario.building import Built
from simdml.scenario.simulate import simulate_built
from simdml.workload.operators import Operator

NORMAL_90: Final = 1.6449
"""90 % of a normal distribution lie within so many standard deviations of its mean."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one family of costs adds: its own ``log_spread``, and that of the step it causes."""

    name: str
    log_spread: float
    step_log_spread: float


@dataclass(frozen=True, slots=True)
class Certainty:
    """A step and the logarithmic standard deviation of its prediction, with what it comes from, largest first."""

    step_s: float
    contributions: tuple[Contribution, ...]

    @property
    def log_spread(self) -> float:
        """Standard deviation of ln(measured / predicted) of the step."""
        return sqrt(sum(each.step_log_spread**2 for each in self.contributions))

    def interval(self) -> tuple[float, float]:
        """Return the ends of the 90 % interval in seconds."""
        factor = exp(NORMAL_90 * self.log_spread)
        return self.step_s / factor, self.step_s * factor


def certainty(built: Built, step_s: float) -> Certainty:
    """Return how sure the step of ``step_s`` seconds of a job is."""
    found = [
        Contribution(name, spread, log(simulate_built(slower).step_time_s / step_s))
        for name, spread, slower in _slower_by_their_spread(built)
    ]
    return Certainty(step_s, tuple(sorted(found, key=lambda each: (-abs(each.step_log_spread), each.name))))


def _slower_by_their_spread(built: Built) -> Iterator[tuple[str, float, Built]]:
    """Yield name, spread, and the job with the family slower by it, for every family of costs."""
    used = _families(built)
    for family, spread in sorted((name, spread) for name, spread in built.profile.spread.items() if name in used):
        compute = {name: _slower(cost, family, exp(spread)) for name, cost in built.costs.compute.items()}
        yield family.replace("_", " "), spread, replace(built, costs=replace(built.costs, compute=compute))
    if built.job.mesh.num_ranks > 1:
        for name, spread, cost in _slower_collectives(built.costs.collectives):
            yield name, spread, replace(built, costs=replace(built.costs, collectives=cost))


def _families(built: Built) -> set[str]:
    """Return the families of kernels that the job's program computes."""
    return {
        str(operator.family)
        for rank in built.program().classes
        for stream in rank.streams
        for instruction, _ in stream.counts
        for operator in _operators(instruction)
    }


def _operators(instruction: Instruction) -> Iterator[Operator]:
    if isinstance(instruction, Compute):
        yield from instruction.operators
    elif isinstance(instruction, Portions):
        for work in instruction.work:
            yield from work.operators


def _slower(cost: ComputeCost, family: str, factor: float) -> ComputeCost:
    return replace(cost, profile=cost.profile.scaled({family: factor})) if isinstance(cost, RooflineCost) else cost


def _slower_collectives(cost: CollectiveCost) -> Iterator[tuple[str, float, CollectiveCost]]:
    if isinstance(cost, GlooCost):
        spread = cost.fit.provenance.large_log_spread
        yield f"collectives ({cost.fit.name})", spread, cost.with_fit(cost.fit.slower(exp(spread)))
    elif isinstance(cost, NcclCost):
        node, network = cost.fit.node, cost.fit.network
        for fit in (node, network) if network is not node else (node,):
            spread = fit.provenance.large_log_spread
            slower = fit.slower(exp(spread))
            changed = CommunicationFit(slower if fit is node else node, slower if fit is network else network)
            yield f"collectives ({fit.name})", spread, cost.with_fit(changed)
