"""Readings of kernels as operators and seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from simdml.calibration.logs.readings import Reading, Readings
from simdml.costs.compute import PRECISIONS
from simdml.errors import DocumentError, Place
from simdml.workload.operators import Family, Operator, Phase

LAUNCH = "launch"
FUSED_ATTENTION = "flash"
FITTED = tuple(precision for precision in PRECISIONS if precision != "fp8")
"""Precisions that readings are fitted in; readings of fp8 products say nothing of how their operands were scaled."""
PLAIN_LAYOUT = "nchw"


@dataclass(frozen=True, slots=True)
class Sample:
    """A measured operator: ``seconds`` at ``precision``; ``held_out`` ones test a fit and are not fitted."""

    operator: Operator
    precision: str
    seconds: float
    held_out: bool


@dataclass(frozen=True, slots=True)
class KernelSamples:
    """What a fit uses, the seconds of a kernel launch on the host where measured, and what was left out, by reason."""

    samples: tuple[Sample, ...]
    host_launch_s: float | None
    left_out: Mapping[str, int]

    def of(self, family: Family, precision: str | None = None) -> list[Sample]:
        """Return the samples of a family, at one precision or at all."""
        return [
            sample
            for sample in self.samples
            if sample.operator.family is family and precision in (None, sample.precision)
        ]


def kernel_samples(files: Iterable[Readings]) -> KernelSamples:
    """Return the stable readings of kernels of the cost models' families.

    A case carries the fields of an :class:`~simdml.workload.operators.Operator` under their own names. Left out are
    noisy readings, precisions that profiles have no curves for, attention that is not one fused kernel, and
    channels-last convolutions (the models are those of PyTorch's default layout).

    Raises:
        DocumentError: a case lacks a field of its operator.
    """
    samples: list[Sample] = []
    launches: list[float] = []
    left_out: dict[str, int] = {}
    for file in files:
        for index, reading in enumerate(file.readings):
            reason = _reason(reading)
            if reason:
                left_out[reason] = left_out.get(reason, 0) + 1
            elif reading.case.get("family") == LAUNCH:
                launches += [reading.seconds] if reading.case.get("op") == "empty_kernel_host" else []
            else:
                samples.append(_sample(reading, file.source, index))
    return KernelSamples(tuple(samples), min(launches) if launches else None, left_out)


def _reason(reading: Reading) -> str:
    case = reading.case
    if reading.noisy:
        return "noisy"
    if case.get("family") not in (*Family, LAUNCH):
        return f"family {case.get('family')}"
    if case.get("dtype") not in FITTED:
        return f"precision {case.get('dtype')}"
    if case.get("family") == Family.ATTENTION and case.get("kernel") != FUSED_ATTENTION:
        return f"attention that is not {FUSED_ATTENTION}"
    return "channels last" if case.get("layout", PLAIN_LAYOUT) != PLAIN_LAYOUT else ""


def _sample(reading: Reading, source: str, index: int) -> Sample:
    case = reading.case
    try:
        return Sample(_operator(case), str(case["dtype"]), reading.seconds, bool(case.get("held_out", False)))
    except (KeyError, TypeError, ValueError) as error:
        place = Place(source, path=("cases", index, "case"))
        message = f"the case is damaged: {type(error).__name__}: {error}"
        hint = "expected family, op, phase, shape, element_bytes, flops, read_bytes, written_bytes, launches and dtype"
        raise DocumentError(message, place=place, hint=hint) from None


def _operator(case: Mapping[str, Any]) -> Operator:
    return Operator(
        name=str(case["op"]),
        family=Family(case["family"]),
        phase=Phase(case["phase"]),
        flops=float(case["flops"]),
        read_bytes=float(case["read_bytes"]),
        written_bytes=float(case["written_bytes"]),
        shape=tuple(int(size) for size in case["shape"]),
        element_bytes=int(case["element_bytes"]),
        launches=int(case.get("launches", 1)),
        causal=bool(case.get("causal", False)),
    )
