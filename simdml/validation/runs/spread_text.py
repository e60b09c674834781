"""Fitted spreads as the text of their file, and as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from simdml.calibration.cost_groups import CostGroup
from simdml.validation.runs.spread_fit import (
    CARRIED,
    DOUBLING,
    ROWS_OF_A_SOURCE,
    STEP,
    TOLD_BY,
    LeftOut,
    Observation,
    SpreadFit,
)

_HEAD: Final = """\
# How far whole steps are from their predictions, beyond the residuals of kernels and collectives: standard deviations
# of ln(measured / predicted) by group of costs. Made by calibrate/fit_spreads.py from published runs.
"""
_ESTIMATE: Final = (
    f"an estimate: no rows of two sources have so much of it (a {TOLD_BY:.0%} part of the step) that they could tell"
)


def spreads_text(fit: SpreadFit, observations: Sequence[Observation], date: str) -> str:
    """Return the YAML file of a fit."""
    counts = dict.fromkeys(sorted({each.source for each in observations}), 0)
    for each in observations:
        counts[each.source] += 1
    named = ", ".join(f"{name} ({count})" for name, count in counts.items())
    runs = (
        f"{len(observations)} measured steps of {len(counts)} sources, {ROWS_OF_A_SOURCE} of each at most, each of "
        f"which weighs one over the root of their number: {named}"
    )
    lines = [f'date: "{date}"', "sources:", *_folded("runs", runs), *_folded("estimate", _ESTIMATE)]
    lines.append(f"tail: {{value: {fit.tail:g}, mark: measured, source: runs}}")
    lines += [_number(name, name, fit) for name in (STEP, CARRIED, DOUBLING)]
    lines += ["groups:", *(f"  {_number(group.value, group, fit)}" for group in CostGroup)]
    return _HEAD + "\n".join(lines) + "\n"


def spread_lines(fit: SpreadFit) -> Iterator[str]:
    """Yield the spreads of a fit."""
    yield f"score {fit.score:.5f}, tail {fit.tail:g}, {fit.inside_50:.1%} in their 50 % intervals"
    for name, value in fit.spreads.items():
        yield f"{name:28s} {value:.3f}{'' if name in fit.told else '  (an estimate)'}"


def left_out_lines(found: Sequence[LeftOut]) -> Iterator[str]:
    """Yield how many rows of every source lie in intervals that were fitted without it, and of all together."""
    yield f"{'left out':28s} rows   in 50 %   in 90 %   tail"
    for each in found:
        inside = f"{each.inside_50:6.0%}   {each.inside_90:6.0%}"
        yield f"{each.source[:28]:28s} {each.rows:4d}   {inside}   {each.fit.tail:5g}"
    total = sum(each.rows for each in found)
    half, most = (sum(getattr(each, name) * each.rows for each in found) / total for name in ("inside_50", "inside_90"))
    yield f"{'all':28s} {total:4d}   {half:6.1%}   {most:6.1%}"


def _number(key: str, name: str, fit: SpreadFit) -> str:
    mark, source = ("measured", "runs") if name in fit.told else ("derived", "estimate")
    return f"{key}: {{value: {fit.spreads[name]:.3f}, mark: {mark}, source: {source}}}"


def _folded(key: str, text: str, width: int = 110) -> Iterator[str]:
    yield f"  {key}: >-"
    line = "   "
    for word in text.split():
        if len(line) + 1 + len(word) > width:
            yield line
            line = "   "
        line += f" {word}"
    yield line
