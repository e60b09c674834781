"""All-reduce on more nodes of a machine, from its log on two.

The log of two nodes tells which algorithm runs and what the network carries. For ring and for tree, seconds are

    time = overhead + latency_scale * L + w + sqrt(ramp * w),    w = volume * S / (efficiency * network)

for the fastest protocol, where ``L`` is NCCL's own latency of that algorithm and protocol (its hops inside and
between nodes: :func:`.nccl_tuning.latency_us`), ``volume`` how often a node's network carries the payload in one
direction (ring 2 (n-1)/n; double binary tree once between two nodes and twice from three on, since an inner node
serves two children and its parent: Sanders, Speck and Träff, "Two-tree algorithms", 2009), ``efficiency`` the share
of payload in a protocol's words (NCCL ``tuning.cc``: LL half, LL128 92 %), and the square root what pipelining costs
(:mod:`simdml.calibration.communication`). Four coefficients are fitted: overhead, latency scale, network rate and
ramp. ``latency_scale`` is not below 1: NCCL's constants are hops at their best.

The two algorithms differ by up to two in what they say of three nodes and more, and by far more in latency: 2 (n-1)
hops against a few. So the one that fits two nodes better is taken, and trees only where the library has them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from simdml.calibration.fitting.measured_curve import MeasuredCurve, measured_curve
from simdml.calibration.fitting.robust import RobustFit, robust_fit
from simdml.costs.collectives.nccl_tables import Algorithm, Protocol, tables
from simdml.costs.collectives.nccl_tuning import ChannelGraph, CommunicatorShape, PathType, latency_us, ring_steps
from simdml.costs.collectives.plan import CollectiveKind
from simdml.errors import InfeasibleError

Vector = NDArray[np.float64]
Points = Sequence[tuple[float, float]]

FIRST_WITH_TREES = (2, 4)
OLDEST_TABLES = (2, 7, 8)
LEAST_BYTES = 64 * 1024
"""Below, a call's fixed cost rules and tells nothing of the network."""

_EFFICIENCY = {Protocol.LL: 0.5, Protocol.LL128: 0.92, Protocol.SIMPLE: 1.0}
_LOWER = np.log([1e-7, 1.0, 1e6, 1e-8])
_UPPER = np.log([500e-6, 3.0, 1e13, 1e-3])
_SCALE = 0.1
_KIND = CollectiveKind.ALL_REDUCE


@dataclass(frozen=True, slots=True)
class Machine:
    """What has to be known of a machine: GPUs a node, their compute capability (70 for V100), NVLink or PCIe.

    ``nccl`` is the version that ran, "2.8.4"; versions before 2.7.8 take its latencies.
    """

    gpus_per_node: int
    compute_capability: int
    nvlink: bool
    nccl: str

    @property
    def has_trees(self) -> bool:
        """Whether the version knows the double binary tree (since 2.4)."""
        return _numbers(self.nccl) >= FIRST_WITH_TREES

    def shape(self, nodes: int) -> CommunicatorShape:
        """What NCCL's latencies depend on; the channels' speeds do not matter to them."""
        path = PathType.NVL if self.nvlink else PathType.PHB
        graph = ChannelGraph(2, 1.0, 1.0, path, PathType.PXB)
        return CommunicatorShape(
            self.gpus_per_node * nodes, nodes, self.compute_capability, graph, graph, ll128=self.nvlink
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


@dataclass(frozen=True, slots=True)
class MoreNodesFit:
    """The fit: ``log_spread`` is the root mean square of ln(predicted / measured) on two nodes.

    ``node_curve`` is the all-reduce inside one node: more nodes are never faster.
    """

    machine: Machine
    algorithm: Algorithm
    overhead_s: float
    latency_scale: float
    network_bytes_per_s: float
    ramp_s: float
    log_spread: float
    node_curve: MeasuredCurve | None = None

    def seconds(self, payload_bytes: float, nodes: int) -> float:
        """Return the seconds of an all-reduce of ``payload_bytes`` over all GPUs of ``nodes`` nodes, two or more."""
        coefficients = np.log([self.overhead_s, self.latency_scale, self.network_bytes_per_s, self.ramp_s])
        sizes = np.array([payload_bytes])
        found = float(_seconds(coefficients, self.machine, self.algorithm, sizes, nodes)[0])
        return max(found, self.node_curve.at(payload_bytes)) if self.node_curve else found


def fit_more_nodes(machine: Machine, two_nodes: Points, one_node: Points = ()) -> MoreNodesFit:
    """Fit (bytes, seconds) measured on two nodes, and on one where it is at hand.

    Raises:
        InfeasibleError: fewer than four sizes of 64 KiB and more on two nodes.
    """
    used = sorted(point for point in two_nodes if point[0] >= LEAST_BYTES)
    if len(used) < 4:
        raise InfeasibleError(
            f"{len(used)} sizes of 64 KiB and more were measured on two nodes",
            hint="four coefficients need four sizes or more: run all_reduce_perf -b 64K -e 1G -f 2",
        )
    sizes, seconds = np.array(used).T
    candidates = (Algorithm.RING, Algorithm.TREE) if machine.has_trees else (Algorithm.RING,)
    fits = [(algorithm, _fit(machine, algorithm, sizes, seconds)) for algorithm in candidates]
    algorithm, fit = min(fits, key=lambda pair: pair[1].spread)
    curve = measured_curve(one_node) if one_node else None
    overhead, scale, rate, ramp = np.exp(fit.coefficients).tolist()
    return MoreNodesFit(machine, algorithm, overhead, scale, rate, ramp, fit.spread, curve)


def _fit(machine: Machine, algorithm: Algorithm, sizes: Vector, seconds: Vector) -> RobustFit:
    def residuals(coefficients: Vector) -> Vector:
        return np.log(_seconds(coefficients, machine, algorithm, sizes, 2) / seconds)

    volume = _volume(algorithm, machine.gpus_per_node, 2)
    rate = math.log(1.05 * volume * float(np.max(sizes / seconds)))
    starts = [(math.log(5e-6), math.log(scale), rate, math.log(1e-5)) for scale in (1.2, 2.5)]
    return robust_fit(residuals, starts, tuple(_LOWER), tuple(_UPPER), _SCALE)


def _seconds(coefficients: Vector, machine: Machine, algorithm: Algorithm, sizes: Vector, nodes: int) -> Vector:
    overhead, scale, rate, ramp = np.exp(coefficients)
    one = partial(_protocol, machine=machine, algorithm=algorithm, nodes=nodes)
    times = []
    for protocol in Protocol:
        if protocol is Protocol.LL128 and not machine.nvlink:
            continue
        latency, per_byte = one(protocol)
        wire = per_byte * sizes / rate
        times.append(overhead + scale * latency + wire + np.sqrt(ramp * wire))
    return np.asarray(np.min(times, axis=0))


def _protocol(protocol: Protocol, *, machine: Machine, algorithm: Algorithm, nodes: int) -> tuple[float, float]:
    """Latency in seconds, and bytes on a node's network per payload byte."""
    shape = machine.shape(nodes)
    constants = tables(machine.nccl if _numbers(machine.nccl) >= OLDEST_TABLES else "2.7.8")
    latency = latency_us(_KIND, algorithm, protocol, shape, constants) * 1e-6
    if algorithm is Algorithm.RING and protocol is Protocol.SIMPLE:
        # NCCL's own correction of long rings across nodes (tuning.cc, ncclTopoGetAlgoTime).
        latency *= 1.9 if machine.compute_capability < 80 else 1.4
    return latency, _volume(algorithm, machine.gpus_per_node, nodes) / _EFFICIENCY[protocol]


def _volume(algorithm: Algorithm, gpus_per_node: int, nodes: int) -> float:
    if algorithm is Algorithm.TREE:
        return 1.0 if nodes == 2 else 2.0
    ranks = gpus_per_node * nodes
    return ring_steps(_KIND, ranks) / ranks
