"""Corrections to NCCL's model, and gloo's constants, from logs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from simdml.calibration.communication import GlooFit, NcclFit, Provenance
from simdml.calibration.fitting.robust import robust_fit
from simdml.calibration.logs.collective_log import CollectiveLog
from simdml.cluster.cluster import Cluster
from simdml.costs.collectives.filling import rooted, streams, waited_us
from simdml.costs.collectives.gloo import gloo_steps
from simdml.costs.collectives.nccl_tables import Algorithm, TuningTables, tables
from simdml.costs.collectives.nccl_tuning import Choice, CommunicatorShape, choose
from simdml.costs.collectives.placement import Placement
from simdml.costs.collectives.plan import CollectiveKind
from simdml.errors import InfeasibleError

Vector = NDArray[np.float64]

MIB = 2**20
LEAST_ROWS = 6
MOST_ROWS_OF_RUN = 12
"""A run weighs as many rows as this at most, so that one long sweep does not outvote the others."""

KINDS: Mapping[str, CollectiveKind] = MappingProxyType(
    {
        kind.value: kind
        for kind in (
            CollectiveKind.ALL_REDUCE,
            CollectiveKind.ALL_GATHER,
            CollectiveKind.REDUCE_SCATTER,
            CollectiveKind.BROADCAST,
            CollectiveKind.REDUCE,
        )
    }
)
"""The collectives whose algorithm NCCL chooses, by the name a log has for them."""

_IN_SWITCH = (Algorithm.NVLS, Algorithm.NVLS_TREE)
_START = np.log([5.0, 1.0, 0.95, 0.95, 20.0])
_LOWER = np.log([0.01, 0.5, 0.2, 0.2, 0.01])
_UPPER = np.log([500.0, 2.0, 1.3, 1.3, 1000.0])
_BANDWIDTH, _NVLS = 2, 3
_SCALE = 0.2


@dataclass(frozen=True, slots=True)
class Modelled:
    """A measured row with what NCCL's model says of it: ``latency_s``, and ``wire_s`` of its algorithm.

    ``least_wire_s`` is what links need whatever the model says. The latency of ``rooted`` collectives is not scaled,
    and the wire of what ``streams`` is the model's (:mod:`simdml.costs.collectives.filling`).
    """

    run: str
    size_bytes: float
    seconds: float
    latency_s: float
    wire_s: float
    in_switch: bool
    ranks: int
    protocol: str = "simple"
    least_wire_s: float = 0.0
    rooted: bool = False
    streams: bool = False


def modelled(
    run: str,
    measured: tuple[float, float],
    kind: CollectiveKind,
    choice: Choice,
    shape: CommunicatorShape,
    constants: TuningTables,
) -> Modelled:
    """Return a row of ``measured`` (bytes, seconds) for the model's ``choice``."""
    size_bytes, seconds = measured
    return Modelled(
        run,
        size_bytes,
        seconds,
        waited_us(kind, choice, size_bytes, shape, constants) * 1e-6,
        size_bytes / (choice.bandwidth * 1e9),
        choice.algorithm in _IN_SWITCH,
        shape.ranks,
        choice.protocol.name.lower(),
        rooted=rooted(kind),
        streams=streams(kind, choice, shape),
    )


def communicator_of(log: CollectiveLog, cluster: Cluster) -> CommunicatorShape:
    """Return what NCCL knows of the communicator of ``log`` on ``cluster``: the first GPUs of each of its nodes.

    Raises:
        InfeasibleError: the log does not say how many ranks ran, or the cluster has fewer GPUs.
    """
    if log.ranks < 2:
        raise InfeasibleError(f"{log.source} does not say how many ranks ran", hint="it needs its lines of devices")
    per_node = len(cluster.gpus_of(0))
    nodes = log.nodes or -(-log.ranks // per_node)
    share = log.ranks // nodes
    if nodes > cluster.num_nodes or share > per_node or share * nodes != log.ranks:
        raise InfeasibleError(
            f"{log.source} ran {log.ranks} ranks on {nodes} nodes and {cluster.name} has {cluster.num_nodes} "
            f"nodes of {per_node} GPUs",
            hint="name the cluster it ran on with --cluster",
        )
    members = [gpu for node in range(nodes) for gpu in cluster.gpus_of(node)[:share]]
    return Placement(cluster).place(members).shape


def modelled_rows(log: CollectiveLog, shape: CommunicatorShape, version: str) -> list[Modelled]:
    """Return the rows of ``log`` with NCCL's own choice for each.

    Raises:
        InfeasibleError: NCCL does not choose an algorithm for this collective.
    """
    if log.collective not in KINDS:
        raise InfeasibleError(f"{log.source}: {log.collective} is not fitted", hint=f"fitted: {', '.join(KINDS)}")
    kind, constants = KINDS[log.collective], tables(version)
    run = f"{log.source} {log.ranks} {log.collective}"
    return [
        modelled(run, timed, kind, choose(kind, timed[0], shape, constants), shape, constants) for timed in log.timed()
    ]


def predicted_seconds(coefficients: Vector, rows: Sequence[Modelled]) -> Vector:
    """Return seconds by the formula of :mod:`simdml.calibration.communication`.

    ``coefficients`` are logarithms of overhead (us), latency, bandwidth and NVLS scale, and ramp (us).
    """
    overhead, latency_scale, bandwidth_scale, nvls_scale, ramp = np.exp(coefficients)
    switched = np.array([row.in_switch for row in rows])
    model = np.array([row.wire_s for row in rows])
    wire = model / np.where(switched, nvls_scale, bandwidth_scale)
    wire = np.where([row.streams for row in rows], model, wire + np.sqrt(ramp * 1e-6 * wire))
    return np.asarray(overhead * 1e-6 + latencies(latency_scale, rows) + wire)


def latencies(latency_scale: float, rows: Sequence[Modelled]) -> Vector:
    """Return the model's latencies, scaled but for rooted collectives."""
    scales = np.where([row.rooted for row in rows], 1.0, latency_scale)
    return np.asarray(scales * np.array([row.latency_s for row in rows]))


def fit_corrections(rows: Sequence[Modelled]) -> Vector:
    """Return the coefficients of :func:`predicted_seconds` that fit ``rows``, each run with a bounded weight.

    Without NVLS rows its scale is the rings'.
    """
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.run] = counts.get(row.run, 0) + 1
    weight = np.array([math.sqrt(min(counts[row.run], MOST_ROWS_OF_RUN) / counts[row.run]) for row in rows])
    measured = np.log([row.seconds for row in rows])
    has_nvls = any(row.in_switch for row in rows)
    free = [index for index in range(5) if index != _NVLS or has_nvls]

    def whole(values: Vector) -> Vector:
        coefficients = _START.copy()
        coefficients[free] = values
        if _NVLS not in free:
            coefficients[_NVLS] = coefficients[_BANDWIDTH]
        return np.asarray(coefficients)

    def residuals(values: Vector) -> Vector:
        return np.asarray(weight * (np.log(predicted_seconds(whole(values), rows)) - measured))

    starts = [_START[free].tolist()]
    return whole(robust_fit(residuals, starts, _LOWER[free].tolist(), _UPPER[free].tolist(), _SCALE).coefficients)


def nccl_fit(name: str, coefficients: Vector, rows: Sequence[Modelled], sources: Iterable[str]) -> NcclFit:
    """Return the fit, with where it holds and how far it is off."""
    overhead, latency_scale, bandwidth_scale, nvls_scale, ramp = np.exp(coefficients).tolist()
    errors = np.log(predicted_seconds(coefficients, rows) / np.array([row.seconds for row in rows]))
    sizes = np.array([row.size_bytes for row in rows])
    provenance = provenance_of(sources, sizes, errors, max(row.ranks for row in rows))
    return NcclFit(name, overhead * 1e-6, latency_scale, bandwidth_scale, nvls_scale, ramp * 1e-6, provenance)


def fit_nccl(name: str, logs: Sequence[CollectiveLog], cluster: Cluster, version: str = "") -> NcclFit:
    """Fit NCCL's corrections to ``logs`` of ``cluster``; ``version`` stands in for logs that do not print theirs.

    Raises:
        InfeasibleError: too few rows, a log that does not belong to the cluster, or no version anywhere.
    """
    rows: list[Modelled] = []
    for log in logs:
        used = log.version or version
        if not used:
            raise InfeasibleError(f"{log.source} does not print NCCL's version", hint="give it with --nccl 2.21.5")
        rows += modelled_rows(log, communicator_of(log, cluster), used)
    if len(rows) < LEAST_ROWS:
        raise InfeasibleError(f"there are {len(rows)} measured sizes", hint=f"a fit needs {LEAST_ROWS} or more")
    return nccl_fit(name, fit_corrections(rows), rows, [log.source for log in logs])


def fit_gloo(name: str, logs: Sequence[CollectiveLog], known: GlooFit) -> GlooFit:
    """Fit gloo's constants to ``logs``; what they cannot tell apart keeps the value ``known`` has.

    The cost of a step and the rate of a connection are fitted always, the overhead of a call where collectives of
    several numbers of messages were measured, the rate of summing where some sum and some do not.

    Raises:
        InfeasibleError: fewer rows than needed, or ranks not stated.
    """
    points = [
        (size, seconds, gloo_steps(KINDS[log.collective], log.ranks), log.ranks)
        for log in logs
        if log.collective in KINDS and log.ranks > 1
        for size, seconds in log.timed()
    ]
    if len(points) < LEAST_ROWS:
        raise InfeasibleError(
            f"there are {len(points)} measured sizes of collectives whose ranks are stated",
            hint=f"a fit needs {LEAST_ROWS} or more of {', '.join(KINDS)}",
        )
    sizes, seconds = np.array([p[0] for p in points]), np.array([p[1] for p in points])
    steps = [point[2] for point in points]
    messages, sent, summed = (np.array([getattr(s, part) for s in steps]) for part in ("messages", "sent", "summed"))
    free = ["step_s", "connection_bytes_per_s"]
    free += ["overhead_s"] if len(set(messages.tolist())) > 1 else []
    free += ["reduce_bytes_per_s"] if len({bool(value) for value in summed}) > 1 else []
    start = {name: getattr(known, name) for name in _GLOO_NAMES}

    def values(logs_: Vector) -> dict[str, float]:
        return start | {name: math.exp(value) for name, value in zip(free, logs_, strict=True)}

    def predict(found: Mapping[str, float]) -> Vector:
        per_byte = sent / found["connection_bytes_per_s"] + summed / found["reduce_bytes_per_s"]
        return np.asarray(found["overhead_s"] + messages * found["step_s"] + sizes * per_byte)

    def residuals(logs_: Vector) -> Vector:
        return np.asarray(np.log(predict(values(logs_)) / seconds))

    begin = [math.log(start[name]) for name in free]
    bounds = [math.log(1e-3)] * len(free)
    lower = [at + low for at, low in zip(begin, bounds, strict=True)]
    upper = [at - low for at, low in zip(begin, bounds, strict=True)]
    found = robust_fit(residuals, [begin], lower, upper, _SCALE)
    provenance = provenance_of([log.source for log in logs], sizes, found.residuals, max(p[3] for p in points))
    return replace(known, name=name, provenance=provenance, **values(found.coefficients))


_GLOO_NAMES = ("overhead_s", "step_s", "connection_bytes_per_s", "reduce_bytes_per_s")


def provenance_of(sources: Iterable[str], sizes: Vector, errors: Vector, ranks: int) -> Provenance:
    """Return where a fit of rows of these ``sizes`` holds, and how far off: ``errors`` are ln(predicted / measured)."""
    large = sizes >= MIB
    by_size = [float(np.sqrt(np.mean(errors[part] ** 2))) if part.any() else math.nan for part in (~large, large)]
    small_spread, large_spread = by_size
    return Provenance(
        sources=tuple(dict.fromkeys(sources)),
        rows=len(sizes),
        small_log_spread=large_spread if math.isnan(small_spread) else small_spread,
        large_log_spread=small_spread if math.isnan(large_spread) else large_spread,
        min_bytes=float(sizes.min()),
        max_bytes=float(sizes.max()),
        max_ranks=ranks,
    )
