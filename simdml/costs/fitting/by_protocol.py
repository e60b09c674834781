"""Corrections to NCCL's model with a rate and a ramp for each protocol, from many runs.

Few rows of one log tell protocols apart: these fits are for the bundled classes of machines. Weak priors hold what
rows do not tell: scales and the latency's scale near 1, ramps near 10 us, by a factor of a thousand.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from simdml.calibration.communication import EXACT, NcclFit, Wire
from simdml.calibration.fitting.robust import robust_fit
from simdml.costs.fitting.collectives import MOST_ROWS_OF_RUN, Modelled, Vector, latencies

SIMPLE, NVLS, LL, LL128 = range(4)
_PROTOCOLS: Final = {"simple": SIMPLE, "ll": LL, "ll128": LL128}
_FIRST: Final = 2
"""Coefficients are logarithms: overhead (us), latency scale, then scale and ramp (us) of each protocol."""
_START: Final = np.log([3.0, 1.0, *(1.0, 10.0) * 4])
_LOWER: Final = np.log([0.01, 0.5, *(0.3, 0.01) * 4])
_UPPER: Final = np.log([400.0, 2.0, *(3.3, 1000.0) * 4])
_PRIOR: Final = np.array([0.0, 0.4, *(0.3, 0.05) * 4])
_SCALE: Final = 0.1


def fit_by_protocol(name: str, rows: Sequence[Modelled], known: NcclFit | None = None) -> NcclFit:
    """Return the fit of ``rows``, each run with a bounded weight, without its provenance.

    A protocol without rows is as Simple. Of a fit that is ``known`` already only Simple's rate is fitted.
    """
    kinds = np.array([_kind(row) for row in rows])
    there = sorted({SIMPLE, *kinds.tolist()})
    free = [0, 1, *(_FIRST + 2 * kind + part for kind in there for part in (0, 1))]
    start = _START
    if known is not None:
        free, start = [_FIRST], np.log(np.maximum(_values(known), 1e-9))
    counts = Counter(row.run for row in rows)
    weight = np.sqrt([min(counts[row.run], MOST_ROWS_OF_RUN) / counts[row.run] for row in rows])
    measured = np.log([row.seconds for row in rows])

    def whole(values: Vector) -> Vector:
        coefficients = start.copy()
        coefficients[free] = values
        return np.asarray(coefficients)

    def residuals(values: Vector) -> Vector:
        off = weight * (np.log(_seconds(whole(values), rows, kinds)) - measured)
        return np.concatenate([off, (_PRIOR * (whole(values) - _START))[free]])

    found = robust_fit(residuals, [start[free].tolist()], _LOWER[free].tolist(), _UPPER[free].tolist(), _SCALE)
    return _fit(name, whole(found.coefficients), there if known is None else [SIMPLE])


def seconds_by(fit: NcclFit, row: Modelled) -> float:
    """Return the seconds that ``fit`` makes of a row."""
    wire_s = fit.wire_s(row.wire_s, protocol=row.protocol, in_switch=row.in_switch)
    latency_s = fit.overhead_s + row.latency_s if row.rooted else fit.latency_s(row.latency_s)
    return latency_s + max(row.wire_s if row.streams else wire_s, row.least_wire_s)


def _kind(row: Modelled) -> int:
    return NVLS if row.in_switch else _PROTOCOLS[row.protocol]


def _seconds(coefficients: Vector, rows: Sequence[Modelled], kinds: Vector) -> Vector:
    values = np.exp(coefficients)
    scale, ramp = values[_FIRST + 2 * kinds], values[_FIRST + 2 * kinds + 1] * 1e-6
    model = np.array([row.wire_s for row in rows])
    wire = np.where([row.streams for row in rows], model, model / scale + np.sqrt(ramp * model / scale))
    least = np.array([row.least_wire_s for row in rows])
    return np.asarray(values[0] * 1e-6 + latencies(values[1], rows) + np.maximum(wire, least))


def _values(fit: NcclFit) -> list[float]:
    simple = fit.bandwidth_scale, fit.ramp_s * 1e6
    pairs = [simple, (fit.nvls_scale, 1e6 * (fit.ramp_s if fit.nvls_ramp_s is None else fit.nvls_ramp_s))]
    pairs += [(wire.scale, wire.ramp_s * 1e6) if wire else simple for wire in (fit.ll, fit.ll128)]
    return [fit.overhead_s * 1e6, fit.latency_scale, *(value for pair in pairs for value in pair)]


def _fit(name: str, coefficients: Vector, there: Sequence[int]) -> NcclFit:
    overhead, latency_scale, *rest = np.exp(coefficients).tolist()
    wires = [Wire(rest[2 * kind], rest[2 * kind + 1] * 1e-6) for kind in range(4)]
    simple = wires[SIMPLE]
    switched = wires[NVLS] if NVLS in there else simple
    return NcclFit(
        name,
        overhead * 1e-6,
        latency_scale,
        simple.scale,
        switched.scale,
        simple.ramp_s,
        EXACT,
        math.inf,
        switched.ramp_s if NVLS in there else None,
        wires[LL] if LL in there else None,
        wires[LL128] if LL128 in there else None,
    )
