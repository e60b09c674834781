"""Intervals of a step the long way: the job simulated again and again with sampled costs.

Slower than adding up paths again (:mod:`simdml.results.uncertainty`) by as many simulations, and without its one
approximation: a path that no stream of its own stands for is found, however little it was in the prediction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simdml.calibration.cost_groups import GROUP_OF_FAMILY, CostGroup
from simdml.calibration.spreads import Spreads, load_spreads
from simdml.cluster.cluster import Cluster
from simdml.costs.collectives.by_name import UNFORCED
from simdml.costs.collectives.plan import CollectiveCost, CollectiveKind, TransferPlan
from simdml.costs.compute import ComputeCost, RooflineCost
from simdml.costs.interference import TakesChannels
from simdml.costs.model import CostModel, ServerCost
from simdml.errors import InfeasibleError
from simdml.results.uncertainty import FEWEST_SAMPLES, QUANTILES, Basis, Interval, deviates
from simdml.scenario.building import Built
from simdml.scenario.simulate import simulate_built

Factors = Mapping[CostGroup, float]


@dataclass(frozen=True, slots=True)
class Resampled:
    """The distribution of a step over ``samples`` simulations."""

    samples: int
    median_s: float
    interval_50_s: Interval
    interval_90_s: Interval


@dataclass(frozen=True, slots=True)
class Slowed:
    """Collectives of ``cost`` that take so many times as long: ``node`` in a node of ``cluster``, ``network`` beyond.

    They keep their links so many times as busy.
    """

    cost: CollectiveCost
    cluster: Cluster
    node: float
    network: float

    def plan(self, kind: CollectiveKind, members: Sequence[int], payload_bytes: float) -> TransferPlan:
        """Return the plan, slower."""
        nodes = {self.cluster.node_of(member) for member in members}
        return self.cost.plan(kind, members, payload_bytes).slower(self.network if len(nodes) > 1 else self.node)

    def channels(self, members: tuple[int, ...]) -> int:
        """Return the blocks that a collective of these GPUs has on each of them: as many as without being slower."""
        return self.cost.channels(members) if isinstance(self.cost, TakesChannels) else 0


def resampled(built: Built, basis: Basis, samples: int, spreads: Spreads | None = None) -> Resampled:
    """Return how long steps take with costs drawn from ``basis`` and ``spreads``, by default the bundled ones.

    Raises:
        InfeasibleError: fewer samples than an interval needs, or a job that loads its data or names its algorithms.
    """
    if samples < FEWEST_SAMPLES:
        raise InfeasibleError(f"{samples} samples say nothing about intervals", hint=f"{FEWEST_SAMPLES} or more")
    steps_s = sampled_steps_s(built, basis, samples, spreads or load_spreads())
    low, lower, median, higher, high = map(float, np.quantile(steps_s, QUANTILES))
    return Resampled(samples, median, (lower, higher), (low, high))


def sampled_steps_s(built: Built, basis: Basis, samples: int, spreads: Spreads) -> NDArray[np.float64]:
    """Return so many steps, simulated with the costs of as many draws; raises as :func:`resampled`."""
    if built.job.input is not None or built.costs.forced != UNFORCED:
        what = "loading data" if built.job.input is not None else "collectives by name"
        raise InfeasibleError(f"costs of {what} cannot be sampled", hint="leave --samples out")
    normal, step = deviates(spreads.tail.value, samples + samples % 2)
    used = {group for path in basis.paths for group in path}
    steps_s = []
    for number in range(samples):
        factors = {
            group: float(np.exp(basis.spread(group, spreads) * normal[row, number])) if group in used else 1.0
            for row, group in enumerate(CostGroup)
        }
        slower = replace(built, costs=recosted(built, factors))
        steps_s.append(simulate_built(slower, must_fit=False).step_time_s)
    return np.array(steps_s) * np.exp(basis.step_spread(spreads) * step[:samples])


def recosted(built: Built, factors: Factors) -> CostModel:
    """Return the costs of a job whose groups take so many times as long."""
    costs, cluster = built.costs, built.job.cluster
    copies, servers = factors[CostGroup.COPIES], factors[CostGroup.SERVERS]
    return replace(
        costs.slower_host(factors[CostGroup.LAUNCHES]),
        compute={name: _kernels(cost, factors) for name, cost in costs.compute.items()},
        collectives=Slowed(costs.collectives, cluster, factors[CostGroup.NODE], factors[CostGroup.NETWORK]),
        messages=replace(costs.messages, slowdown=copies if built.job.parameter_server is None else servers),
        server=ServerCost(costs.server.bytes_per_s / servers, costs.server.per_message_s * servers),
        transports={name: Slowed(cost, cluster, copies, copies) for name, cost in costs.transports.items()},
    )


def _kernels(cost: ComputeCost, factors: Factors) -> ComputeCost:
    if not isinstance(cost, RooflineCost):
        return cost
    return replace(cost, profile=cost.profile.scaled({f: factors[group] for f, group in GROUP_OF_FAMILY.items()}))
