"""The numbers a report begins with, in words, the same in the terminal, in notebooks and on pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Final

from simdml.reporting.input_text import input_rows
from simdml.results.breakdown import RankBreakdown
from simdml.results.plain import MEMORY_PARTS
from simdml.units import format_bytes, format_count, format_flops, format_time

if TYPE_CHECKING:
    from simdml.results.saved import Predicted
    from simdml.results.uncertainty import Uncertainty

NETWORK_KINDS: Final = frozenset({"nic", "leaf", "spine"})
"""Kinds of link whose rates are written in bits."""


def subject(result: Predicted) -> str:
    """Return what was simulated: "16 GPUs, 64 sequences a step"."""
    gpus = "GPU" if result.num_gpus == 1 else "GPUs"
    return f"{result.num_gpus:,} {gpus}, {result.samples_per_step:,} {result.sample_unit} a step"


def headline(result: Predicted) -> list[tuple[str, str]]:
    """Return name and value of the numbers asked for first."""
    rows = [("step time", format_time(result.step_time_s) + interval(result))]
    if result.uncertainty is not None:
        rows += intervals(result.uncertainty)
    rows.append(("throughput", f"{format_count(_rounded(result.samples_per_s))} {result.sample_unit}/s"))
    if result.tokens_per_s is not None:
        rows.append(("in tokens", f"{format_count(_rounded(result.tokens_per_s))} tokens/s"))
    if result.evaluation is not None:
        rate = f"{format_count(_rounded(result.samples_per_s_with_evaluation))} {result.sample_unit}/s"
        taken = share(result.evaluation.share(result.step_time_s))
        rows.append(("with evaluation", f"{rate}; {taken} of the time, {format_time(result.evaluation.seconds)} each"))
    rows += input_rows(result, lambda rate: f"{format_count(_rounded(rate))} {result.sample_unit}/s")
    rows.append(("model FLOP rate", f"{format_flops(result.model_flops_per_s_per_gpu)} per GPU"))
    if result.hardware_flops_per_s_per_gpu > 1.001 * result.model_flops_per_s_per_gpu:
        recomputed = f"{format_flops(result.hardware_flops_per_s_per_gpu)} per GPU"
        rows.append(("with recomputation", recomputed))
    rows.append(("MFU", share(result.mfu)))
    return rows


def interval(result: Predicted) -> str:
    """Return how well the mean step time is known, nothing where it is exact."""
    if result.half_width_s is None:
        return ""
    if not isfinite(result.half_width_s):
        return " (too few steps to say how sure)"
    return f" ± {share(result.half_width_s / result.step_time_s)} (95 %)" if result.half_width_s else ""


def intervals(found: Uncertainty) -> list[tuple[str, str]]:
    """Return name and value of the intervals that a measured step lies in, and what they mostly come from."""
    first = found.contributions[0]
    rows = [(f"{percent} % interval", from_to(*found.interval_s(percent))) for percent in (50, 90)]
    rows[1] = (rows[1][0], f"{rows[1][1]}; most uncertain: {first.name}")
    return rows


def from_to(low_s: float, high_s: float) -> str:
    """Return an interval of time."""
    return f"{format_time(low_s)} to {format_time(high_s)}"


def share(fraction: float) -> str:
    """Return a fraction as percent with one decimal."""
    return "< 0.1 %" if 0 < fraction < 0.0005 else f"{100 * fraction:.1f} %"


def share_or_dash(fraction: float) -> str:
    """Return :func:`share`, and a dash for nothing at all."""
    return share(fraction) if fraction else "-"


def alike(breakdowns: Iterable[RankBreakdown]) -> list[RankBreakdown]:
    """Return breakdowns by rank, those of one rank class that look the same (within 0.5 % of the step) as one."""
    groups: list[RankBreakdown] = []
    for breakdown in sorted(breakdowns, key=lambda item: item.representative):
        same = next((index for index, group in enumerate(groups) if _same(group, breakdown)), None)
        if same is None:
            groups.append(breakdown)
        else:
            groups[same] = replace(groups[same], num_ranks=groups[same].num_ranks + breakdown.num_ranks)
    return groups


def _same(one: RankBreakdown, other: RankBreakdown) -> bool:
    close = 0.005 * sum(one.seconds.values())
    names = {*one.seconds, *other.seconds}
    return one.rank_class == other.rank_class and all(
        abs(one.seconds.get(name, 0.0) - other.seconds.get(name, 0.0)) <= close for name in names
    )


def mean_accounts(result: Predicted) -> dict[str, float]:
    """Return seconds of a step by account, on average over all ranks."""
    total = sum(breakdown.num_ranks for breakdown in result.breakdowns)
    mean: dict[str, float] = {}
    for breakdown in result.breakdowns:
        for name, seconds in breakdown.seconds.items():
            mean[name] = mean.get(name, 0.0) + seconds * breakdown.num_ranks / total
    return mean


def shares(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return each account's fraction of their sum."""
    total = sum(seconds.values())
    return {name: value / total for name, value in seconds.items()} if total else {}


def memory_rows(result: Predicted) -> tuple[str, list[tuple[str, str, float]]]:
    """Return a title for the fullest rank class, and part, size and share of capacity, largest first."""
    fullest = max(result.memory, key=lambda estimate: estimate.total / estimate.capacity)
    parts = sorted(((getattr(fullest, part), part) for part in MEMORY_PARTS), key=lambda item: (-item[0], item[1]))
    rows = [(part, format_bytes(size), size / fullest.capacity) for size, part in parts if size > 0]
    used = f"{format_bytes(fullest.total)} of {format_bytes(fullest.capacity)}"
    return f"{used}, {share(fullest.total / fullest.capacity)}, {fullest.rank_class}", rows


def _rounded(rate: float) -> float:
    """Return ``rate`` with four significant digits."""
    return float(f"{rate:.4g}")
