"""A communication fit as the text of its YAML file."""

from __future__ import annotations

import json
import math
from decimal import Decimal

from simdml.calibration.communication import GlooFit, NcclFit, Provenance, Wire


def communication_text(fit: NcclFit | GlooFit, comment: str) -> str:
    """Return the file that :mod:`simdml.calibration.communication_file` reads back, ``comment`` in its first line."""
    lines = [f"# {comment}", "fit:", *(f"  {key}: {value}" for key, value in _coefficients(fit))]
    return "\n".join([*lines, "  provenance:", *_provenance(fit.provenance)]) + "\n"


def _coefficients(fit: NcclFit | GlooFit) -> list[tuple[str, str]]:
    if isinstance(fit, GlooFit):
        return [
            ("library", "gloo"),
            ("overhead", _seconds(fit.overhead_s)),
            ("step", _seconds(fit.step_s)),
            ("connection", _rate(fit.connection_bytes_per_s)),
            ("reduce", _rate(fit.reduce_bytes_per_s)),
            ("staging", _rate(fit.staging_bytes_per_s)),
        ]
    found = [
        ("library", "nccl"),
        ("overhead", _seconds(fit.overhead_s)),
        ("latency_scale", number(fit.latency_scale)),
        ("bandwidth_scale", number(fit.bandwidth_scale)),
        ("nvls_scale", number(fit.nvls_scale)),
        ("ramp", _seconds(fit.ramp_s)),
    ]
    if fit.nvls_ramp_s is not None:
        found.append(("nvls_ramp", _seconds(fit.nvls_ramp_s)))
    found += [(name, _wire(wire)) for name, wire in (("ll", fit.ll), ("ll128", fit.ll128)) if wire]
    return found + ([] if math.isinf(fit.nic_bytes_per_s) else [("nic", _rate(fit.nic_bytes_per_s))])


def _wire(wire: Wire) -> str:
    return f"{{scale: {number(wire.scale)}, ramp: {_seconds(wire.ramp_s)}}}"


def _provenance(provenance: Provenance) -> list[str]:
    lines = [
        f"    rows: {provenance.rows}",
        f"    small_log_spread: {number(provenance.small_log_spread)}",
        f"    large_log_spread: {number(provenance.large_log_spread)}",
        f'    min_bytes: "{int(provenance.min_bytes)} B"',
        f'    max_bytes: "{int(provenance.max_bytes)} B"',
        f"    max_ranks: {provenance.max_ranks}",
    ]
    if provenance.does_not_claim:
        lines.append(f"    does_not_claim: {_quoted(provenance.does_not_claim)}")
    return [*lines, "    sources:", *(f"      - {_quoted(source)}" for source in provenance.sources)]


def number(value: float) -> str:
    """Return four significant digits, never in exponent form."""
    return format(Decimal(f"{value:.4g}").normalize(), "f")


def _seconds(value: float) -> str:
    return f'"{number(value * 1e6)} us"'


def _rate(value: float) -> str:
    return f'"{number(value / 1e9)} GB/s"'


def _quoted(text: str) -> str:
    """JSON's texts are YAML's too."""
    return json.dumps(text, ensure_ascii=False)
