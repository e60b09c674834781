"""A fitted profile as the text of its YAML file.

What was not measured is carried over: from the device's profile where one is bundled, else from the nearest family
that was measured. Every number says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, get_args

from simdml.calibration.curves import AttentionCurve, ConvolutionCurve, MatmulCurve, StreamCurve
from simdml.calibration.profile import Profile
from simdml.calibration.profile_file import StreamFamily
from simdml.costs.fitting.compute import ComputeFit, FamilyFit
from simdml.costs.fitting.samples import KernelSamples
from simdml.workload.operators import Family

MEASURED, DERIVED = "measured", "derived"
READINGS, CARRIED, UNFITTED, BASE = "readings", "rule", "start", "base"
_RULE = "carried over from the nearest family or precision that was measured on this device; not measured itself"
_START = "a usual value, kept because the readings of the family are too few to fit it"
_UNMEASURED_SPREAD = 0.3
_GPU_HOST_LAUNCH_S = 6e-6
_DEFAULT_ALLOCATOR = 1.06
_STREAM_ORDER = ("elementwise", "copy", "optimizer", "normalization", "softmax")
_NO_STREAM = StreamCurve(1.0, 1e-6)
Numbers = dict[str, Any]


def profile_mapping(
    fit: ComputeFit, kernels: KernelSamples, *, source: str, software: str, date: str, base: Profile | None
) -> dict[str, Any]:
    """Return the mapping of the profile's file; ``source`` names the readings, ``base`` fills what they lack."""
    products = {f.precision: f for f in fit.families if f.family is Family.MATMUL}
    convolutions = {f.precision: f for f in fit.families if f.family is Family.CONVOLUTION}
    sources = {READINGS: source, CARRIED: _RULE, UNFITTED: _START} | (
        {BASE: f"profile {base.name} of simdml"} if base else {}
    )
    return {
        "devices": [fit.device.name],
        "default": False,
        "software": software,
        "date": date,
        "sources": sources,
        "does_not_claim": list(_claims(fit, base)),
        "validity": _validity(kernels),
        "matmul": {precision: _matmul(found) for precision, found in products.items()},
        "batched_matmul": {f.precision: _matmul(f) for f in fit.families if f.family is Family.BATCHED_MATMUL},
        "convolution": {
            precision: _convolution(found, products[precision]) for precision, found in convolutions.items()
        },
        "attention": _attentions(fit, base),
        "streams": _streams(fit, base),
        "host_launch_s": _host_launch(fit, base),
        "memory": _memory(base),
        "spread": _spreads(fit, base),
    }


def profile_text(mapping: Mapping[str, Any], comment: str) -> str:
    """Return the YAML file."""
    import yaml

    body = yaml.safe_dump(dict(mapping), sort_keys=False, default_flow_style=None, width=110)
    return f"# {comment}\n{body}"


def _number(value: float, mark: str, source: str) -> Numbers:
    rounded = float(value) if source == BASE else float(f"{value:.4g}")
    return {"value": rounded, "mark": mark, "source": source}


def _fitted(found: FamilyFit, curve: object, names: Iterable[str]) -> dict[str, Numbers]:
    return {name: _coefficient(found, name, getattr(curve, name)) for name in names}


def _coefficient(found: FamilyFit, name: str, value: float) -> Numbers:
    """What too few readings left at its start is not measured."""
    return _number(value, *((MEASURED, READINGS) if name in found.fitted else (DERIVED, UNFITTED)))


def _matmul(found: FamilyFit) -> dict[str, Any]:
    curve = found.curve
    assert isinstance(curve, MatmulCurve)
    names = ("plateau", "prologue_depth", "wave_quantization", "memory_efficiency", "sharpness", "floor_s")
    return {
        **_fitted(found, curve, names),
        "max_split": _number(curve.max_split, DERIVED, CARRIED),
        "tiles": [
            {"m": tile.m, "n": tile.n, "efficiency": _coefficient(found, "second_level", tile.efficiency)}
            for tile in curve.tiles
        ],
    }


def _convolution(found: FamilyFit, products: FamilyFit) -> dict[str, Any]:
    curve = found.curve
    assert isinstance(curve, ConvolutionCurve)
    assert isinstance(products.curve, MatmulCurve)
    return {
        **_fitted(found, curve, ("efficiency", "winograd", "input_gradient", "weight_gradient")),
        "winograd_prologue_depth": _coefficient(
            found, "winograd_prologue_depth", curve.winograd_products.prologue_depth
        ),
        **_fitted(found, curve.products, ("memory_efficiency", "sharpness", "floor_s")),
    }


def _attentions(fit: ComputeFit, base: Profile | None) -> dict[str, Any]:
    names = [field.name for field in fields(AttentionCurve)]
    found = {f.precision: _fitted(f, f.curve, names) for f in fit.families if f.family is Family.ATTENTION}
    if not found and base:
        for precision, curve in base.attention.items():
            found[precision] = {name: _number(getattr(curve, name), DERIVED, BASE) for name in names}
    return found


def _streams(fit: ComputeFit, base: Profile | None) -> dict[str, Any]:
    fitted = {f.family.value: f for f in fit.families if isinstance(f.curve, StreamCurve)}
    nearest = next((fitted[name].curve for name in _STREAM_ORDER if name in fitted), None)
    found = {}
    for family in get_args(StreamFamily):
        if family in fitted:
            found[family] = _fitted(fitted[family], fitted[family].curve, ("plateau", "floor_s"))
            continue
        curve, source = (base.streams[family], BASE) if base else (nearest or _NO_STREAM, CARRIED)
        found[family] = {name: _number(getattr(curve, name), DERIVED, source) for name in ("plateau", "floor_s")}
    return found


def _host_launch(fit: ComputeFit, base: Profile | None) -> Numbers:
    # On a CPU the kernels' own times hold the call: the host computes, it does not launch.
    if fit.device.arch == "cpu":
        return _number(0.0, DERIVED, CARRIED)
    if fit.host_launch_s is not None:
        return _number(fit.host_launch_s, MEASURED, READINGS)
    return _number(base.host_launch_s if base else _GPU_HOST_LAUNCH_S, DERIVED, BASE if base else CARRIED)


def _memory(base: Profile | None) -> dict[str, Numbers]:
    names = ("context_bytes", "communicator_bytes", "workspace_bytes", "allocator_factor")
    if base:
        return {name: _number(getattr(base.memory, name), DERIVED, BASE) for name in names}
    return {name: _number(_DEFAULT_ALLOCATOR if name == names[-1] else 0.0, DERIVED, CARRIED) for name in names}


def _spreads(fit: ComputeFit, base: Profile | None) -> dict[str, Numbers]:
    found: dict[str, Numbers] = {}
    for family in Family:
        spreads = [f.spread for f in fit.families if f.family is family]
        if spreads:
            found[family.value] = _number(max(spreads), MEASURED, READINGS)
        elif base and family.value in base.spread:
            found[family.value] = _number(base.spread[family.value], DERIVED, BASE)
        else:
            found[family.value] = _number(_UNMEASURED_SPREAD, DERIVED, CARRIED)
    return found


def _validity(kernels: KernelSamples) -> dict[str, dict[str, float]]:
    found: dict[str, list[float]] = {}
    for sample in kernels.samples:
        family, operator = sample.operator.family, sample.operator
        if family in (Family.MATMUL, Family.BATCHED_MATMUL, Family.CONVOLUTION, Family.ATTENTION):
            found.setdefault(f"{family.value}_flops_{sample.precision}", []).append(operator.flops)
        else:
            found.setdefault("stream_bytes", []).append(operator.bytes)
    return {name: {"low": min(values), "high": max(values)} for name, values in sorted(found.items())}


def _claims(fit: ComputeFit, base: Profile | None) -> Iterable[str]:
    measured = {f.family for f in fit.families}
    missing = [family.value for family in Family if family not in measured]
    if missing:
        yield f"families that were not measured: {', '.join(missing)}"
    yield "memory of context and allocator: " + ("those of the base profile" if base else "not measured")
    yield "single kernels to better than the spread of their family"
    if fit.device.arch == "cpu":
        yield "caches: kernels were timed as the readings say, and run faster where a step leaves its data in a cache"
