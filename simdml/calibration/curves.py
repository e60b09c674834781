"""Efficiency curves: the coefficients a profile holds for each family of kernels.

A curve holds numbers alone; :mod:`simdml.costs.compute` and its siblings turn a curve, a device and an operator
into seconds. Efficiencies are fractions of the device's peak rate or memory bandwidth, in (0, 1] unless said.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile of ``m`` x ``n`` results that one multiprocessor computes at ``efficiency`` x the plateau."""

    m: int
    n: int
    efficiency: float


@dataclass(frozen=True, slots=True)
class MatmulCurve:
    """Matrix products of one precision.

    ``plateau`` is the fraction of peak reached by whole waves of the best tile at infinite depth;
    ``prologue_depth`` the extra depth k that filling and draining one tile costs; ``wave_quantization`` how much
    of the idle part of the last wave is paid (0 none, 1 all of it); ``memory_efficiency`` the fraction of
    bandwidth at which operands and result stream; ``sharpness`` how well arithmetic hides streaming (1: they add
    up, infinity: the longer counts); ``max_split`` the deepest split of k; ``floor_s`` the smallest kernel.
    """

    plateau: float
    prologue_depth: float
    wave_quantization: float
    memory_efficiency: float
    sharpness: float
    max_split: int
    floor_s: float
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class ConvolutionCurve:
    """Convolutions of one precision, as ``products`` on implicit matrices.

    ``efficiency`` scales the implicit product's arithmetic rate; ``winograd`` that of the Winograd algorithm
    on ``winograd_products`` (0 where the library has none; it may pass 1); ``input_gradient`` and
    ``weight_gradient`` either rate in the two halves of backward. ``pointwise`` are the products that convolutions of
    one pixel without stride are, where the library computes them as such; None where it does not.
    """

    products: MatmulCurve
    winograd_products: MatmulCurve
    efficiency: float
    winograd: float
    input_gradient: float
    weight_gradient: float
    pointwise: MatmulCurve | None = None


@dataclass(frozen=True, slots=True)
class AttentionCurve:
    """Fused attention: ``forward`` and ``backward`` fraction of the matmul peak at infinite sequence length.

    The rate is halved where there are ``half_length`` keys. The plateaus hold for heads of
    ``head_size``; smaller heads lose as ``head / (head + half_head)`` relative to it.
    """

    forward: float
    backward: float
    half_length: float
    head_size: float
    half_head: float
    floor_s: float


@dataclass(frozen=True, slots=True)
class StreamCurve:
    """Memory-bound kernels: ``plateau`` of the bandwidth after a floor of ``floor_s`` a kernel.

    The floor makes the achieved bandwidth a ramp: half the plateau where streaming lasts as long as the floor.
    """

    plateau: float
    floor_s: float
