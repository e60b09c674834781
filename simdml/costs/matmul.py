"""Seconds of matrix products: tiles on multiprocessors, in waves.

A library splits the ``(m, n)`` result into tiles, each computed by one multiprocessor over the whole depth k, and
picks the tile (and a split of k, when tiles are too few to fill the device) that finishes first. The last wave of
tiles is rarely full, tiles overhang the edges of the result, and each tile pays a prologue and epilogue; that is
why a product reaches its plateau at large, well divided shapes only. The description follows NVIDIA's "Matrix
Multiplication Background User's Guide" (tile and wave quantization); the coefficients come from a profile.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from simdml.calibration.curves import MatmulCurve

_MIN_SPLIT_DEPTH = 64
"""A part of k shallower than this does not pay for a tile's prologue."""

_FULL = 4
"""Splitting k stops helping once tiles fill the device this many times."""


@dataclass(frozen=True, slots=True)
class MatmulUnit:
    """What executes the product: peak FLOP/s at its precision, bytes/s of memory, multiprocessors."""

    peak_flops_per_s: float
    memory_bytes_per_s: float
    num_multiprocessors: int


def product_seconds(
    curve: MatmulCurve, unit: MatmulUnit, batch: int, m: int, n: int, k: int, traffic_bytes: float
) -> float:
    """Return seconds of ``batch`` products ``(m, k) @ (k, n)`` moving ``traffic_bytes``, floor included."""
    streaming_s = traffic_bytes / (unit.memory_bytes_per_s * curve.memory_efficiency)
    arithmetic_s = arithmetic_seconds(curve, unit, batch, m, n, k)
    return combine(arithmetic_s, streaming_s, curve.sharpness) + curve.floor_s


def combine(first_s: float, second_s: float, sharpness: float) -> float:
    """Return the time of two overlapping activities: their sum at ``sharpness`` 1, their maximum at infinity."""
    high, low = max(first_s, second_s), min(first_s, second_s)
    if low <= 0.0:
        return high
    overhang: float = (1.0 + (low / high) ** sharpness) ** (1.0 / sharpness)
    return high * overhang


def arithmetic_seconds(curve: MatmulCurve, unit: MatmulUnit, batch: int, m: int, n: int, k: int) -> float:
    """Return the time of the fastest tile and split of k, as if memory were infinitely fast."""
    rate = unit.peak_flops_per_s * curve.plateau / unit.num_multiprocessors
    best_s = float("inf")
    for tile in curve.tiles:
        num_tiles = batch * ceil(m / tile.m) * ceil(n / tile.n)
        seconds_per_depth = 2.0 * tile.m * tile.n / (rate * tile.efficiency)
        for split in _splits(curve.max_split, k, num_tiles, unit.num_multiprocessors):
            filled = waves(num_tiles * split / unit.num_multiprocessors, curve.wave_quantization)
            seconds = filled * seconds_per_depth * (ceil(k / split) + curve.prologue_depth)
            if split > 1:
                seconds += _reduction_seconds(curve, unit, batch * m * n, split)
            best_s = min(best_s, seconds)
    return best_s


def waves(ratio: float, quantization: float) -> float:
    """Return the waves paid for ``ratio`` tiles a multiprocessor: the last one in part, never less than one."""
    if ratio <= 1.0:
        return 1.0
    return quantization * ceil(ratio) + (1.0 - quantization) * ratio


def _splits(max_split: int, k: int, num_tiles: int, num_multiprocessors: int) -> list[int]:
    """Return the powers of two that k may be split by."""
    splits = [1]
    while (
        (split := 2 * splits[-1]) <= max_split
        and k >= split * _MIN_SPLIT_DEPTH
        and num_tiles * split <= _FULL * num_multiprocessors
    ):
        splits.append(split)
    return splits


def _reduction_seconds(curve: MatmulCurve, unit: MatmulUnit, elements: int, split: int) -> float:
    """Every part of the split writes its fp32 partial result, which is read back once."""
    return 2.0 * 4.0 * elements * split / (unit.memory_bytes_per_s * curve.memory_efficiency)
