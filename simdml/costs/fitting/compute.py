"""Efficiency curves of a device from readings of its kernels.

Every family is fitted by robust least squares in ln(predicted / measured), with the cost model that predicts it
(:mod:`simdml.costs.compute`) and few coefficients; what has too few readings keeps starting values. Errors are those
of the readings that were held out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simdml.calibration.curves import AttentionCurve, ConvolutionCurve, MatmulCurve, StreamCurve, Tile
from simdml.calibration.fitting.robust import robust_fit
from simdml.cluster.device import Device
from simdml.costs.compute import attention_seconds, stream_seconds
from simdml.costs.convolution import convolution_seconds
from simdml.costs.fitting.samples import FITTED, KernelSamples, Sample
from simdml.costs.matmul import MatmulUnit, product_seconds
from simdml.errors import InfeasibleError
from simdml.workload.operators import Family, Operator, Phase

Predict = Callable[[Operator], float]
Vector = NDArray[np.float64]

MOST_SAMPLES = 300
ENOUGH_FOR_ALL, ENOUGH_FOR_FEW = 24, 4
_SCALE = 0.1

# (m, n, level): tiles of a level share an efficiency, never above that of the level before.
_CPU_TILES = ((64, 64, 0), (16, 64, 1), (64, 16, 1), (8, 16, 2))
_SIMT_TILES = ((128, 128, 0), (128, 64, 1), (64, 128, 1), (64, 64, 2), (32, 32, 2))
_TENSOR_TILES = ((256, 128, 0), (128, 256, 0), (128, 128, 1), (128, 64, 1), (64, 128, 1), (64, 64, 2))
_MAX_SPLIT = {"cpu": 1}
_GPU_MAX_SPLIT = 16


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A coefficient of a curve: its start and bounds, all above 0.

    ``idle`` is its value where readings are too few to fit it, the start by default.
    """

    name: str
    start: float
    low: float
    high: float
    idle: float | None = None


@dataclass(frozen=True, slots=True)
class FamilyFit:
    """A curve and how well it holds.

    ``fitted`` names the coefficients that ``count`` readings decided; the others kept a start. ``errors`` are
    predicted over measured less one on the held-out readings (on the fitted ones where none was held out,
    ``is_held_out`` False); ``spread`` is the standard deviation of ln.
    """

    family: Family
    precision: str
    curve: MatmulCurve | ConvolutionCurve | AttentionCurve | StreamCurve
    fitted: frozenset[str]
    count: int
    errors: tuple[float, ...]
    spread: float
    is_held_out: bool

    @property
    def median_error(self) -> float:
        """Median of the errors' absolute values."""
        return statistics.median(map(abs, self.errors))


@dataclass(frozen=True, slots=True)
class ComputeFit:
    """Every curve that could be fitted; precision "" for memory-bound families, which share one over all."""

    device: Device
    families: tuple[FamilyFit, ...]
    host_launch_s: float | None

    def find(self, family: Family, precision: str = "") -> FamilyFit | None:
        """Return the fit of a family at a precision, or None."""
        return next((fit for fit in self.families if (fit.family, fit.precision) == (family, precision)), None)


_MATMUL = (
    Coefficient("plateau", 0.7, 0.02, 1.2),
    Coefficient("memory_efficiency", 0.7, 0.02, 1.5),
    Coefficient("floor_s", 4e-6, 1e-7, 1e-3),
    Coefficient("prologue_depth", 50.0, 0.1, 5000.0),
    Coefficient("sharpness", 2.0, 1.0, 10.0),
    Coefficient("wave_quantization", 0.3, 0.001, 1.0),
    Coefficient("second_level", 0.9, 0.3, 1.0),
    Coefficient("third_level", 0.9, 0.3, 1.0),
)
_STREAM = (Coefficient("plateau", 0.6, 0.01, 2.0), Coefficient("floor_s", 3e-6, 1e-7, 1e-3))
_ATTENTION = (
    Coefficient("forward", 0.5, 0.01, 1.2),
    Coefficient("backward", 0.4, 0.01, 1.2),
    Coefficient("floor_s", 5e-6, 1e-7, 1e-3),
    Coefficient("half_length", 300.0, 1.0, 5000.0, idle=1.0),
    Coefficient("half_head", 16.0, 0.1, 500.0, idle=0.1),
)
_CONVOLUTION = (
    Coefficient("efficiency", 0.8, 0.05, 2.0),
    Coefficient("memory_efficiency", 0.7, 0.02, 1.5),
    Coefficient("floor_s", 1e-5, 1e-7, 1e-3),
    Coefficient("input_gradient", 0.9, 0.1, 2.0),
    Coefficient("weight_gradient", 0.9, 0.1, 2.0),
    Coefficient("winograd", 0.3, 0.02, 2.0, idle=0.02),
    Coefficient("winograd_prologue_depth", 20.0, 0.1, 5000.0),
    Coefficient("sharpness", 2.0, 1.0, 10.0),
)
_FEW = 3
"""How many coefficients, from the first, are fitted where readings are few."""
_HEAD_SIZE = 128.0


def fit_compute(kernels: KernelSamples, device: Device) -> ComputeFit:
    """Fit every family and precision of which there are at least four readings.

    Raises:
        InfeasibleError: there are too few readings of matrix products.
    """
    families: list[FamilyFit] = []
    for precision in FITTED:
        if precision not in device.peak_flops:
            continue
        products = _fit_products(kernels.of(Family.MATMUL, precision), Family.MATMUL, precision, device)
        batched = _fit_products(kernels.of(Family.BATCHED_MATMUL, precision), Family.BATCHED_MATMUL, precision, device)
        attention = _fit_attention(kernels.of(Family.ATTENTION, precision), precision, device)
        found = [fit for fit in (products, batched, attention) if fit]
        if products and isinstance(products.curve, MatmulCurve):
            convolutions = kernels.of(Family.CONVOLUTION, precision)
            found += [fit] if (fit := _fit_convolution(convolutions, precision, device, products.curve)) else []
        families += found
    if not any(fit.family is Family.MATMUL for fit in families):
        raise InfeasibleError(
            "there are too few stable readings of matrix products",
            hint=f"at least {ENOUGH_FOR_FEW} of one precision: run calibrate/compute.py on an idle machine",
        )
    streams = [family for family in Family if family not in _PRODUCTS]
    families += [fit for family in streams if (fit := _fit_stream(kernels.of(family), family, device))]
    return ComputeFit(device, tuple(families), kernels.host_launch_s)


_PRODUCTS = (Family.MATMUL, Family.BATCHED_MATMUL, Family.CONVOLUTION, Family.ATTENTION)


def _unit(device: Device, precision: str) -> MatmulUnit:
    return MatmulUnit(device.peak_flops[precision], device.memory_bandwidth_bytes_per_s, device.sms)


def _tiles(device: Device, precision: str) -> tuple[tuple[int, int, int], ...]:
    if device.arch == "cpu":
        return _CPU_TILES
    return _SIMT_TILES if precision == "fp32" else _TENSOR_TILES


def matmul_curve(values: Mapping[str, float], device: Device, precision: str) -> MatmulCurve:
    """Return the curve of coefficients by name; ``second_level`` and ``third_level`` are of smaller tiles."""
    levels = (1.0, values["second_level"], values["second_level"] * values["third_level"])
    return MatmulCurve(
        plateau=values["plateau"],
        prologue_depth=values["prologue_depth"],
        wave_quantization=values["wave_quantization"],
        memory_efficiency=values["memory_efficiency"],
        sharpness=values["sharpness"],
        max_split=_MAX_SPLIT.get(device.arch, _GPU_MAX_SPLIT),
        floor_s=values["floor_s"],
        tiles=tuple(Tile(m, n, levels[level]) for m, n, level in _tiles(device, precision)),
    )


def _fit_products(samples: Sequence[Sample], family: Family, precision: str, device: Device) -> FamilyFit | None:
    unit = _unit(device, precision)

    def build(values: Mapping[str, float]) -> tuple[MatmulCurve, Predict]:
        curve = matmul_curve(values, device, precision)

        def predict(operator: Operator) -> float:
            batch = operator.shape[0] if operator.family is Family.BATCHED_MATMUL else 1
            m, n, k = operator.shape[-3:]
            return product_seconds(curve, unit, batch, m, n, k, operator.bytes)

        return curve, predict

    return _fit(samples, family, precision, _MATMUL, build)


def _fit_convolution(
    samples: Sequence[Sample], precision: str, device: Device, products: MatmulCurve
) -> FamilyFit | None:
    unit = _unit(device, precision)

    def build(values: Mapping[str, float]) -> tuple[ConvolutionCurve, Predict]:
        own = replace(
            products,
            memory_efficiency=values["memory_efficiency"],
            sharpness=values["sharpness"],
            floor_s=values["floor_s"],
        )
        tiled = replace(own, prologue_depth=values["winograd_prologue_depth"])
        backward = values["input_gradient"], values["weight_gradient"]
        curve = ConvolutionCurve(own, tiled, values["efficiency"], values["winograd"], *backward)
        return curve, lambda operator: convolution_seconds(curve, unit, operator)

    return _fit(samples, Family.CONVOLUTION, precision, _CONVOLUTION, build)


def _fit_attention(samples: Sequence[Sample], precision: str, device: Device) -> FamilyFit | None:
    unit = _unit(device, precision)
    # Without backward readings the plateau of backward would be a guess.
    if not any(sample.operator.phase is not Phase.FORWARD for sample in samples):
        return None

    def build(values: Mapping[str, float]) -> tuple[AttentionCurve, Predict]:
        curve = AttentionCurve(head_size=_HEAD_SIZE, **values)
        return curve, lambda operator: attention_seconds(curve, unit, operator)

    return _fit(samples, Family.ATTENTION, precision, _ATTENTION, build)


def _fit_stream(samples: Sequence[Sample], family: Family, device: Device) -> FamilyFit | None:
    def build(values: Mapping[str, float]) -> tuple[StreamCurve, Predict]:
        curve = StreamCurve(values["plateau"], values["floor_s"])
        return curve, lambda operator: stream_seconds(curve, device.memory_bandwidth_bytes_per_s, operator)

    return _fit(samples, family, "", _STREAM, build)


Build = Callable[[Mapping[str, float]], tuple[MatmulCurve | ConvolutionCurve | AttentionCurve | StreamCurve, Predict]]


def _fit(
    samples: Sequence[Sample], family: Family, precision: str, coefficients: Sequence[Coefficient], build: Build
) -> FamilyFit | None:
    fitted, tested = _divided(samples)
    if len(fitted) < ENOUGH_FOR_FEW:
        return None
    free = coefficients if len(fitted) >= ENOUGH_FOR_ALL else coefficients[:_FEW]
    start = {entry.name: entry.start if entry in free or entry.idle is None else entry.idle for entry in coefficients}
    start["floor_s"] = min(max(0.8 * min(sample.seconds for sample in fitted), 2e-7), 5e-4)
    measured = np.log([sample.seconds for sample in fitted])

    def values(logs: Sequence[float] | Vector) -> dict[str, float]:
        return start | {free[index].name: math.exp(log) for index, log in enumerate(logs)}

    def residuals(logs: Vector) -> Vector:
        _, predict = build(values(logs))
        return np.log([predict(sample.operator) for sample in fitted]) - measured

    lower, upper = [math.log(entry.low) for entry in free], [math.log(entry.high) for entry in free]
    begins = [[math.log(share * start[entry.name]) for entry in free] for share in (1.0, 0.4)]
    found = robust_fit(residuals, begins, lower, upper, _SCALE)
    curve, predict = build(values(found.coefficients))
    shown = tested or fitted
    logs = [math.log(predict(sample.operator) / sample.seconds) for sample in shown]
    return FamilyFit(
        family=family,
        precision=precision,
        curve=curve,
        fitted=frozenset(entry.name for entry in free),
        count=len(fitted),
        errors=tuple(math.expm1(log) for log in logs),
        spread=max(1.4826 * statistics.median(map(abs, logs)), 1e-3),
        is_held_out=bool(tested),
    )


def _divided(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Fitted and held-out samples; of many, a part spread evenly over the order they came in."""
    fitted = [sample for sample in samples if not sample.held_out]
    step = -(-len(fitted) // MOST_SAMPLES) if fitted else 1
    return fitted[::step], [sample for sample in samples if sample.held_out]
