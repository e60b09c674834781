"""Seconds of an operator on a device: one Protocol and its siblings.

``RooflineCost`` bounds an operator by arithmetic and by memory, each at the efficiency a measured profile gives to
its family and shape, above the floor of the smallest kernel (Williams, Waterman and Patterson, "Roofline", CACM
52(4), 2009, with efficiencies below the roofs). ``ConstantCost`` is for tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final, Protocol, TypeVar

from simdml.calibration.curves import AttentionCurve, MatmulCurve, StreamCurve
from simdml.calibration.profile import Profile
from simdml.cluster.device import Device
from simdml.costs.convolution import convolution_seconds
from simdml.costs.matmul import MatmulUnit, combine, product_seconds
from simdml.errors import InfeasibleError
from simdml.workload.operators import Family, Operator, Phase

Curve = TypeVar("Curve")

PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "fp8")
PRODUCTS_KEPT: Final = 2**15
COSTS_KEPT: Final = 64
CONVERTED: Final = 3
"""Tensors of a convolution that are converted: two that it reads, one that it writes."""
_HALF = ("fp16", "bf16")
_ALIGNED_ELEMENTS: Final = 8


class ComputeCost(Protocol):
    """Gives seconds to operators: equal costs, of equal hashes, the same ones for ever."""

    def __hash__(self) -> int:
        """Return a number that equal costs share."""

    def seconds(self, operator: Operator, precision: str) -> float:
        """Return device seconds of ``operator``, its products at ``precision`` (one of ``PRECISIONS``)."""


@dataclass(frozen=True, slots=True)
class ConstantCost:
    """Every operator takes the same time; for tests."""

    constant_s: float

    def seconds(self, operator: Operator, precision: str) -> float:  # noqa: ARG002
        """Return the constant."""
        return self.constant_s


@dataclass(frozen=True, slots=True, eq=False)
class RooflineCost:
    """The curves of ``profile`` under the roofs of ``device``; equal to itself alone.

    A precision a profile has no curve for borrows one: bf16 and tf32 from fp16, and fp16 on a device without
    tensor cores from fp32, always under the device's own peak. Raises InfeasibleError for a precision the device
    has no peak for. Products, which take longest to price, are remembered by all that their seconds depend on.
    """

    profile: Profile
    device: Device
    _products: dict[tuple[object, ...], float] = field(default_factory=dict, init=False, repr=False)

    def seconds(self, operator: Operator, precision: str) -> float:
        """Return device seconds; families the profile scales are scaled last."""
        return self._unscaled_seconds(operator, precision) * self.profile.scale(operator.family)

    def _unscaled_seconds(self, operator: Operator, precision: str) -> float:
        family = operator.family
        if family in (Family.MATMUL, Family.BATCHED_MATMUL, Family.CONVOLUTION, Family.ATTENTION):
            used = _units(operator, precision)
            return self._remembered_seconds(operator, used)
        curve = self.profile.streams[family]
        if family is Family.NORMALIZATION and operator.layout:
            curve = self.profile.batch_norm or curve
        return stream_seconds(curve, self.device.memory_bandwidth_bytes_per_s, operator)

    def _remembered_seconds(self, operator: Operator, precision: str) -> float:
        size = (operator.shape, operator.flops, operator.bytes, operator.launches, operator.causal, operator.generation)
        key = (operator.family, operator.phase, precision, operator.layout, size)
        found = self._products.get(key)
        if found is None:
            if len(self._products) >= PRODUCTS_KEPT:
                self._products.clear()
            found = self._products[key] = self._product_seconds(operator, precision)
        return found

    def _product_seconds(self, operator: Operator, precision: str) -> float:
        if self.device.has_tensor_cores(precision) and _misaligned(operator, precision):
            precision = "fp32"
        profile, unit = self.profile, self._unit(precision)
        if operator.family is Family.CONVOLUTION:
            return min(self._convolution_seconds(operator, each) for each in self._rates(operator, precision))
        if operator.family is Family.ATTENTION:
            return attention_seconds(self._borrowed(profile.attention, "attention", precision), unit, operator)
        if operator.family is Family.BATCHED_MATMUL:
            products: MatmulCurve = self._borrowed(profile.batched_matmul, "batched_matmul", precision)
            batch, m, n, k = operator.shape
        else:
            products = self._borrowed(profile.matmul, "matmul", precision)
            if not operator.shape:
                return shapeless_seconds(products, unit, operator)
            batch, (m, n, k) = 1, operator.shape
        return product_seconds(products, unit, batch, m, n, k, operator.bytes)

    def _rates(self, operator: Operator, precision: str) -> tuple[str, ...]:
        """Return the precisions whose rates a convolution may run at, of which tuning takes the faster.

        Libraries time kernels with and without tensor cores where images would be converted for them.
        """
        converted = operator.layout != "nhwc" and self.device.has_tensor_cores(precision)
        return (precision, "fp32") if converted and lender(self.profile.convolution, "fp32") else (precision,)

    def _convolution_seconds(self, operator: Operator, precision: str) -> float:
        curve = self._borrowed(self.profile.convolution, "convolution", precision)
        return convolution_seconds(curve, self._unit(precision), operator) + self._conversion_seconds(
            operator, precision
        )

    def _conversion_seconds(self, operator: Operator, precision: str) -> float:
        """Return seconds of laying images out as tensor cores read them, and back: a copy of all that moves.

        cuDNN's tensor-core kernels are of channels-last tensors; others are converted before and after every call
        (its nchwToNhwcKernel and nhwcToNchwKernel; NVIDIA, "Convolutional Layers User's Guide", section 2.1).
        """
        if operator.layout == "nhwc" or not self.device.has_tensor_cores(precision):
            return 0.0
        tensors = replace(operator, read_bytes=operator.bytes, written_bytes=operator.bytes, launches=CONVERTED)
        return stream_seconds(self.profile.streams[Family.COPY], self.device.memory_bandwidth_bytes_per_s, tensors)

    def _borrowed(self, curves: Mapping[str, Curve], family: str, precision: str) -> Curve:
        found = lender(curves, precision)
        if found is None:
            raise InfeasibleError(f"profile {self.profile.name} has no curve for {precision} {family}")
        return curves[found]

    def _unit(self, precision: str) -> MatmulUnit:
        peak = self.device.peak_flops.get(precision)
        if peak is None:
            known = ", ".join(sorted(self.device.peak_flops))
            raise InfeasibleError(f"{self.device.name} has no {precision} peak", hint=f"precisions it has: {known}")
        return MatmulUnit(peak, self.device.memory_bandwidth_bytes_per_s, self.device.sms)


def _units(operator: Operator, precision: str) -> str:
    """Return the precision of the units that ``operator`` of a job runs on: that of its operands where they differ."""
    if precision in _HALF and operator.element_bytes == 4:
        return "fp32"
    return "bf16" if precision == "fp8" and operator.element_bytes != 1 else precision


def _misaligned(operator: Operator, precision: str) -> bool:
    """Whether an operator of half precision misses the tensor cores: a dimension is no multiple of 16 bytes.

    It then runs at the rate of fp32. Batched products: cuBLAS needed multiples of 8 until version 11 (NVIDIA, "Train
    With Mixed Precision"), and attention products of other head sizes have stayed several times slower (Anthony et al.,
    arXiv 2401.14489). Plain products do not: later libraries have kernels for them. That products behave so was chosen
    after BLOOM's rows of head sizes 108, 150 and 225 were seen; the rate was not. Convolutions: channels have to be
    multiples of 8 (NVIDIA, "Convolutional Layers User's Guide", section 2.2), which the three of images are not; with
    channels last they are padded. That images with channels first are not was chosen after ResNet-50's rows in half
    precision were seen.
    """
    if precision not in _HALF:
        return False
    if operator.family is Family.CONVOLUTION:
        return operator.layout != "nhwc" and any(channels % _ALIGNED_ELEMENTS for channels in operator.shape[1:3])
    return operator.family is Family.BATCHED_MATMUL and any(size % _ALIGNED_ELEMENTS for size in operator.shape[1:])


class _Same:
    """Something by its identity."""

    def __init__(self, it: Profile | Device) -> None:
        self.it = it

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.it is self.it

    def __hash__(self) -> int:
        return id(self.it)


def roofline(profile: Profile, device: Device) -> RooflineCost:
    """Return :class:`RooflineCost`, the same for the very same profile and device, so that jobs share its prices."""
    return _roofline(_Same(profile), _Same(device))


@lru_cache(maxsize=COSTS_KEPT)
def _roofline(profile: _Same, device: _Same) -> RooflineCost:
    assert isinstance(profile.it, Profile)
    assert isinstance(device.it, Device)
    return RooflineCost(profile.it, device.it)


def stream_seconds(curve: StreamCurve, memory_bytes_per_s: float, operator: Operator) -> float:
    """Return seconds of a memory-bound operator: its traffic at the plateau, and a floor a kernel."""
    return operator.bytes / (memory_bytes_per_s * curve.plateau) + operator.launches * curve.floor_s


def shapeless_seconds(curve: MatmulCurve, unit: MatmulUnit, operator: Operator) -> float:
    """Return seconds of products known by their FLOPs and bytes alone: as fast as the largest, best divided ones."""
    arithmetic_s = operator.flops / (unit.peak_flops_per_s * curve.plateau)
    streaming_s = operator.bytes / (unit.memory_bytes_per_s * curve.memory_efficiency)
    return combine(arithmetic_s, streaming_s, curve.sharpness) + operator.launches * curve.floor_s


_GENERATIONS: Final[Mapping[int, tuple[float, float]]] = {1: (0.61, 0.55), 2: (1.0, 1.0), 3: (1.75, 1.62)}
"""Rates of FlashAttention's generations forward and backward, that of the second being 1.

On A100 the first reaches 30 to 50 % of the peak forward and 25 to 35 % backward, the second 66 and 55 % (Dao,
"FlashAttention-2", arXiv 2307.08691, section 1; profile a100_sxm_80gb). On H100 the third is 1.5 to 2.0 times as fast
as the second forward and 1.5 to 1.75 times backward (Shah et al., "FlashAttention-3", arXiv 2407.08608, section 1).
"""


def attention_seconds(curve: AttentionCurve, unit: MatmulUnit, operator: Operator) -> float:
    """Return seconds of fused attention, which computes the attended pairs alone."""
    _, _, _, keys, head = operator.shape
    forward = operator.phase is Phase.FORWARD
    plateau = (curve.forward if forward else curve.backward) * _GENERATIONS[operator.generation][0 if forward else 1]
    size = min(head, curve.head_size)
    plateau *= (size / (size + curve.half_head)) * (1.0 + curve.half_head / curve.head_size)
    rate = unit.peak_flops_per_s * plateau * keys / (keys + curve.half_length)
    streaming_s = operator.bytes / unit.memory_bytes_per_s
    return max(operator.executed_flops / rate, streaming_s) + operator.launches * curve.floor_s


def lender(curves: Mapping[str, Curve], precision: str) -> str | None:
    """Return the precision whose curve ``precision`` takes, itself if it has one; None if there is none to take."""
    return next((each for each in _LENDERS[precision] if each in curves), None)


_LENDERS: Mapping[str, tuple[str, ...]] = {
    "fp32": ("fp32", "fp16"),
    "tf32": ("tf32", "fp16", "fp32"),
    "fp16": ("fp16", "fp32"),
    "bf16": ("bf16", "fp16", "fp32"),
    "fp8": ("fp8", "fp16", "fp32"),
}
