"""Fits the compute coefficients of profiles to published tables of kernel times, and says how well they hold.

``python calibrate/fit_kernels.py FOLDER [--only WORD]`` with FOLDER holding the tables that
``kernel_tables.py`` reads. It prints, for every device and family, the coefficients as they stand in the profile
files and the error on the fifth of the shapes that was held out. The cost model under test is the one simdml
ships. Needs scipy and pandas.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import kernel_tables as tables
from kernel_tables import BOARDS, Limits, Sample
from scipy.optimize import minimize

from simdml.calibration.curves import ConvolutionCurve, MatmulCurve, StreamCurve, Tile
from simdml.costs.compute import stream_seconds
from simdml.costs.convolution import convolution_seconds
from simdml.costs.matmul import MatmulUnit, product_seconds
from simdml.workload.operators import Family, Operator

SIMT_TILES = ((128, 128, 0), (128, 64, 1), (64, 128, 1), (64, 64, 2), (32, 32, 3))
TENSOR_TILES = ((256, 128, 0), (128, 256, 0), (128, 128, 1), (128, 64, 2), (64, 128, 2), (64, 64, 3))
# cuDNN's fp32 kernels carry these tiles in their names (scudnn_128x128, 128x64, 128x32).
CONVOLUTION_TILES = (Tile(128, 128, 1.0), Tile(128, 64, 1.0), Tile(128, 32, 1.0))
FIT_SAMPLES = 700
TEST_SAMPLES = 2500
MAX_SPLIT = 16

Predict = Callable[[Operator], float]


@dataclass(frozen=True)
class Errors:
    """Relative errors of a fit on held-out shapes, and the spread of ln(measured / predicted)."""

    count: int
    median: float
    percentile_90: float
    worst: float
    bias: float
    spread: float


def errors(predict: Predict, samples: Sequence[Sample]) -> Errors:
    """Return the errors of ``predict`` on the held-out samples."""
    held_out = _pick([sample for sample in samples if sample.held_out], TEST_SAMPLES)
    logs = [math.log(sample.seconds / predict(sample.operator)) for sample in held_out]
    relative = sorted(abs(math.expm1(-log)) for log in logs)
    return Errors(
        len(logs),
        statistics.median(relative),
        relative[int(0.9 * len(relative))],
        relative[-1],
        statistics.median(logs),
        1.4826 * statistics.median(abs(log) for log in logs),
    )


def fit(
    build: Callable[[Sequence[float]], Predict], starts: Sequence[Sequence[float]], samples: Sequence[Sample]
) -> tuple[Sequence[float], Errors]:
    """Return the parameters with the least mean |ln(measured / predicted)| over fitted shapes, and the errors."""
    chosen = _pick([sample for sample in samples if not sample.held_out], FIT_SAMPLES)

    def loss(parameters: Sequence[float]) -> float:
        predict = build(parameters)
        return sum(abs(math.log(s.seconds / predict(s.operator))) for s in chosen) / len(chosen)

    options = {"maxiter": 450, "adaptive": True, "xatol": 1e-4, "fatol": 1e-5}
    found = [minimize(loss, start, method="Nelder-Mead", options=options) for start in starts]
    best = min(found, key=lambda result: float(result.fun))
    return best.x, errors(build(best.x), samples)


def matmul_curve(parameters: Sequence[float], tiles: Sequence[tuple[int, int, int]]) -> MatmulCurve:
    """Return a curve from unbounded parameters; smaller tiles are never more efficient than larger ones."""
    plateau, prologue, quantization, memory, sharpness, floor, *steps = parameters
    efficiency = [1.0]
    for step in steps:
        efficiency.append(efficiency[-1] * _fraction(step))
    return MatmulCurve(
        plateau=_fraction(plateau),
        prologue_depth=math.exp(prologue),
        wave_quantization=_fraction(quantization),
        memory_efficiency=_fraction(memory),
        sharpness=1.0 + math.exp(sharpness),
        max_split=MAX_SPLIT,
        floor_s=math.exp(floor),
        tiles=tuple(Tile(m, n, efficiency[rank]) for m, n, rank in tiles),
    )


def fit_products(samples: Sequence[Sample], limits: Limits, precision: str) -> tuple[MatmulCurve, Errors]:
    """Fit matmuls or batched matmuls."""
    unit = _unit(limits, precision)
    tiles = TENSOR_TILES if precision == "fp16" else SIMT_TILES
    floor = math.log(min(sample.seconds for sample in samples))

    def build(parameters: Sequence[float]) -> Predict:
        curve = matmul_curve(parameters, tiles)

        def predict(operator: Operator) -> float:
            batch = operator.shape[0] if operator.family is Family.BATCHED_MATMUL else 1
            m, n, k = operator.shape[-3:]
            return product_seconds(curve, unit, batch, m, n, k, operator.bytes)

        return predict

    starts = [(1.5, 4.0, quantization, 1.0, 0.5, floor, 3.0, 2.0, 2.0) for quantization in (-1.5, 0.5)]
    parameters, quality = fit(build, starts, samples)
    return matmul_curve(parameters, tiles), quality


def fit_convolution(
    samples: Sequence[Sample], limits: Limits, products: MatmulCurve
) -> tuple[ConvolutionCurve, Errors]:
    """Fit the algorithms of forward convolution on top of the device's matmul curve and its floor."""
    unit = _unit(limits, "fp32")
    floor = math.log(min(sample.seconds for sample in samples))

    def curve(parameters: Sequence[float]) -> ConvolutionCurve:
        implicit, winograd, prologue, memory, sharpness, floor = parameters
        own = replace(
            products,
            memory_efficiency=_fraction(memory),
            sharpness=1.0 + math.exp(sharpness),
            floor_s=math.exp(floor),
            tiles=CONVOLUTION_TILES,
        )
        fused = replace(own, prologue_depth=math.exp(prologue))
        return ConvolutionCurve(own, fused, _fraction(implicit), math.exp(winograd), 1.0, 1.0)

    def build(parameters: Sequence[float]) -> Predict:
        built = curve(parameters)
        return lambda operator: convolution_seconds(built, unit, operator)

    parameters, quality = fit(build, [(1.0, -0.5, 1.0, 0.0, 0.0, floor)], samples)
    return curve(parameters), quality


def fit_stream(samples: Sequence[Sample], limits: Limits) -> tuple[StreamCurve, Errors]:
    """Fit bandwidth and floor of a memory-bound family."""

    def curve(parameters: Sequence[float]) -> StreamCurve:
        return StreamCurve(math.exp(parameters[0]), math.exp(parameters[1]))

    def build(parameters: Sequence[float]) -> Predict:
        built = curve(parameters)
        return lambda operator: stream_seconds(built, limits.memory_bytes_per_s, operator)

    parameters, quality = fit(build, [(-0.3, math.log(5e-6))], samples)
    return curve(parameters), quality


def _fraction(parameter: float) -> float:
    return 1.0 / (1.0 + math.exp(-min(max(parameter, -30.0), 30.0)))


def _unit(limits: Limits, precision: str) -> MatmulUnit:
    return MatmulUnit(limits.peak_flops_per_s[precision], limits.memory_bytes_per_s, limits.num_multiprocessors)


def _pick(samples: Sequence[Sample], count: int) -> Sequence[Sample]:
    return samples if len(samples) <= count else random.Random(0).sample(samples, count)


def _report(title: str, curve: object, quality: Errors) -> str:
    return f"{title}\n  {curve}\n  {quality}"


def fp32_reports(folder: Path, linear_board: str, conv_board: str) -> list[str]:
    """Return coefficients and errors of the fp32 families of one device."""
    limits, conv_limits = BOARDS[linear_board], BOARDS[conv_board]
    linear, quality = fit_products(tables.fp32_linear(folder, linear_board), limits, "fp32")
    lines = [_report(f"{limits.name} matmul fp32", linear, quality)]
    lines.append(
        _report(
            f"{limits.name} batched matmul fp32",
            *fit_products(tables.fp32_bmm(folder, linear_board), limits, "fp32"),
        )
    )
    convolutions = tables.fp32_conv(folder, conv_board)
    lines.append(_report(f"{conv_limits.name} convolution fp32", *fit_convolution(convolutions, conv_limits, linear)))
    for family, names, tensors in (
        (Family.ELEMENTWISE, ("add", "mul", "div", "pow"), 3),
        (Family.ELEMENTWISE, ("addu", "mulu", "relu", "gelu", "tanh"), 2),
        (Family.NORMALIZATION, ("ln",), 2),
        (Family.SOFTMAX, ("softmax",), 2),
    ):
        samples = tables.fp32_vector(folder, linear_board, names, family, tensors)
        lines.append(_report(f"{limits.name} {family} {names}", *fit_stream(samples, limits)))
    return lines


def fp16_reports(folder: Path, board: str) -> list[str]:
    """Return coefficients and errors of the fp16 families of one device."""
    limits = BOARDS[board]
    samples = tables.fp16_products(folder, board)
    lines = [_report(f"{limits.name} matmul fp16", *fit_products(samples, limits, "fp16"))]
    for column, family, tensors in (
        ("add_ms", Family.ELEMENTWISE, 3),
        ("mlp_act_ms", Family.ELEMENTWISE, 3),
        ("input_layernorm_ms", Family.NORMALIZATION, 2),
    ):
        pieces = tables.fp16_streams(folder, board, column, family, tensors)
        lines.append(_report(f"{limits.name} {column}", *fit_stream(pieces, limits)))
    return lines


def main() -> None:
    """Fit every device and print the reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="fit the boards whose name contains this word")
    arguments = parser.parse_args()
    boards = (
        ("Tesla P100-PCIE-16GB", "Tesla P100-PCIE-16GB"),
        ("Tesla V100-PCIE-32GB", "Tesla V100-PCIE-32GB"),
        ("Tesla T4", "Tesla T4"),
        ("NVIDIA A100-PCIE-40GB", "NVIDIA A100 80GB PCIe"),
    )
    lines: list[str] = []
    for linear_board, conv_board in boards:
        if arguments.only in linear_board:
            lines += fp32_reports(arguments.folder, linear_board, conv_board)
    for board in ("a100", "h100"):
        if arguments.only in board:
            lines += fp16_reports(arguments.folder, board)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
