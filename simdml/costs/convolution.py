"""Seconds of convolutions, as the matrix products that libraries turn them into.

The implicit product of forward has ``m`` = images x output pixels, ``n`` = output channels and ``k`` = input
channels x kernel pixels; the input gradient contracts output channels x kernel pixels over the input's pixels, and
the weight gradient contracts images x output pixels (Chetlur et al., "cuDNN", arXiv 1410.0759, section 3). Square
kernels of 3 and 5 with stride 1 may instead run as the Winograd algorithms F(4x4, 3x3) and F(2x2, 5x5): 36 products
on a 6x6 tile of inputs in place of 144 or 100 (Lavin and Gray, arXiv 1509.09308, section 4). Kernel times show the
steps of 4 pixels that whole tiles of 3x3 outputs cause. Square kernels from 5 on with stride 1 may run as products of
the spectra of tiles of 32x32 (cuDNN's FFT_TILING; Mathieu, Henaff and LeCun, arXiv 1312.5851, section 2; Vasilache et
al., arXiv 1412.7580, section 2), whose transforms move operands and result through memory once more; no kernel time was
seen of these. Groups are independent products. A kernel of one pixel with stride 1 needs no implicit matrix: it is the
plain product of weights and images.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from simdml.calibration.curves import ConvolutionCurve
from simdml.costs.matmul import MatmulUnit, arithmetic_seconds, combine, product_seconds
from simdml.workload.operators import Operator, Phase

_WINOGRAD_TILE = 6
_FOURIER_TILE = 32
_FOURIER_KERNEL = 5

Product = tuple[int, int, int, int]
"""``(batch, m, n, k)``: so many independent ``(m, k) @ (k, n)``."""


@dataclass(frozen=True, slots=True)
class ConvolutionShape:
    """The forward's numbers, in the order of ``Operator.shape``."""

    batch: int
    c_in: int
    c_out: int
    kernel_h: int
    kernel_w: int
    out_h: int
    out_w: int
    stride: int
    groups: int

    @property
    def is_pointwise(self) -> bool:
        """Whether the implicit matrix is the input itself, so that no index has to be worked out."""
        return self.kernel_h == self.kernel_w == self.stride == self.groups == 1

    def implicit_product(self, phase: Phase) -> Product:
        """Return the product that computes ``phase``."""
        kernel = self.kernel_h * self.kernel_w
        pixels = self.batch * self.out_h * self.out_w
        c_in, c_out = self.c_in // self.groups, self.c_out // self.groups
        if phase is Phase.INPUT_GRADIENT:
            # Each input pixel meets 1/stride² of the kernel, so the FLOPs are those of forward.
            inputs_per_output = min(self.stride * self.stride, kernel)
            return self.groups, pixels * inputs_per_output, c_in, max(c_out * kernel // inputs_per_output, 1)
        if phase is Phase.WEIGHT_GRADIENT:
            return self.groups, c_out, c_in * kernel, pixels
        return self.groups, pixels, c_out, c_in * kernel

    def winograd_product(self, phase: Phase) -> Product | None:
        """Return the 36 products on 6x6 input tiles, or ``None`` where the algorithm does not apply."""
        if self.kernel_h != self.kernel_w or self.kernel_h not in (3, 5) or (self.stride, self.groups) != (1, 1):
            return None
        outputs = _WINOGRAD_TILE + 1 - self.kernel_h
        tiles = self.batch * ceil(self.out_h / outputs) * ceil(self.out_w / outputs)
        products = _WINOGRAD_TILE * _WINOGRAD_TILE
        if phase is Phase.WEIGHT_GRADIENT:
            return products, self.c_out, self.c_in, tiles
        if phase is Phase.INPUT_GRADIENT:
            return products, tiles, self.c_in, self.c_out
        return products, tiles, self.c_out, self.c_in

    @property
    def has_fourier(self) -> bool:
        """Whether a transform of tiles applies that needs less arithmetic than Winograd's algorithm."""
        return self.kernel_h == self.kernel_w >= _FOURIER_KERNEL and (self.stride, self.groups) == (1, 1)

    @property
    def fourier_tiles(self) -> int:
        """Tiles of the images of a batch."""
        outputs = _FOURIER_TILE + 1 - self.kernel_h
        return self.batch * ceil(self.out_h / outputs) * ceil(self.out_w / outputs)

    def fourier_product(self, phase: Phase) -> Product:
        """Return the products of a frequency, four real ones for a complex one, at half of all frequencies."""
        products = 4 * _FOURIER_TILE * (_FOURIER_TILE // 2 + 1)
        if phase is Phase.WEIGHT_GRADIENT:
            return products, self.c_out, self.c_in, self.fourier_tiles
        if phase is Phase.INPUT_GRADIENT:
            return products, self.fourier_tiles, self.c_in, self.c_out
        return products, self.fourier_tiles, self.c_out, self.c_in

    @property
    def fourier_bytes(self) -> float:
        """Bytes of the spectra of both operands and of the result, in complex fp32, each written and read."""
        spectra = self.fourier_tiles * (self.c_in + self.c_out) + self.c_in * self.c_out
        return 2.0 * 8.0 * _FOURIER_TILE * (_FOURIER_TILE // 2 + 1) * spectra


def convolution_seconds(curve: ConvolutionCurve, unit: MatmulUnit, operator: Operator) -> float:
    """Return seconds of one phase of a convolution by the faster algorithm, kernel floor included."""
    products = curve.products
    shape = ConvolutionShape(*operator.shape)
    if curve.pointwise is not None and shape.is_pointwise:
        return product_seconds(curve.pointwise, unit, *shape.implicit_product(operator.phase), operator.bytes)
    arithmetic_s = arithmetic_seconds(products, unit, *shape.implicit_product(operator.phase)) / curve.efficiency
    winograd = shape.winograd_product(operator.phase)
    if winograd is not None and curve.winograd > 0.0:
        arithmetic_s = min(arithmetic_s, arithmetic_seconds(curve.winograd_products, unit, *winograd) / curve.winograd)
    efficiency = _phase_efficiency(curve, operator.phase)
    bandwidth = unit.memory_bytes_per_s * products.memory_efficiency
    seconds = combine(arithmetic_s / efficiency, operator.bytes / bandwidth, products.sharpness)
    if shape.has_fourier and curve.winograd > 0.0:
        fourier_s = arithmetic_seconds(curve.winograd_products, unit, *shape.fourier_product(operator.phase))
        transforms_s = (operator.bytes + shape.fourier_bytes) / bandwidth
        seconds = min(seconds, fourier_s / efficiency + transforms_s)
    return seconds + products.floor_s * operator.launches


def _phase_efficiency(curve: ConvolutionCurve, phase: Phase) -> float:
    if phase is Phase.INPUT_GRADIENT:
        return curve.input_gradient
    if phase is Phase.WEIGHT_GRADIENT:
        return curve.weight_gradient
    return 1.0
