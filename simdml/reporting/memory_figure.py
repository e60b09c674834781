"""A picture of device memory: what fills it on every kind of rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.figure import Figure

from simdml.costs.memory import MemoryEstimate
from simdml.reporting.gantt import spread
from simdml.reporting.palette import Style
from simdml.reporting.saving import STYLE
from simdml.results.plain import MEMORY_PARTS
from simdml.units import format_bytes

CLASSES_SHOWN: Final = 16
_GIB: Final = 2.0**30
_WIDTH, _HEIGHT, _ROW = 10.0, 1.3, 0.3
_STYLES: Final = {
    "parameters": Style("#0a5c9c"),
    "gradients": Style("#d98cb3", "////"),
    "optimizer": Style("#00805e"),
    "activations": Style("#f0b429", "\\\\\\\\"),
    "buckets": Style("#b5dcf5", "---"),
    "overhead": Style("#a9a9a9"),
}


def memory_figure(estimates: Sequence[MemoryEstimate]) -> Figure:
    """Return a figure with a stacked bar for every kind of rank, and a line where the device ends."""
    with rc_context(STYLE):
        shown = spread(estimates, CLASSES_SHOWN)
        figure = Figure(figsize=(_WIDTH, _HEIGHT + _ROW * len(shown)), layout="constrained")
        axes = figure.subplots()
        left = [0.0] * len(shown)
        for part in MEMORY_PARTS:
            sizes = [getattr(estimate, part) / _GIB for estimate in shown]
            if any(sizes):
                style = _STYLES[part]
                look: dict[str, Any] = {
                    "color": style.color,
                    "hatch": style.hatch,
                    "edgecolor": "white",
                    "linewidth": 0.5,
                }
                axes.barh(range(len(shown)), sizes, left=left, height=0.74, label=part, **look)
            left = [before + size for before, size in zip(left, sizes, strict=True)]
        for row, estimate in enumerate(shown):
            edge = estimate.capacity / _GIB
            axes.plot([edge, edge], [row - 0.5, row + 0.5], color="#1a1a1a", linewidth=2.0)
            axes.annotate(f" {format_bytes(estimate.total)}", (left[row], row), va="center")
        axes.set_yticks(range(len(shown)), [estimate.rank_class for estimate in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlim(0.0, 1.04 * max(*left, *(estimate.capacity / _GIB for estimate in shown)))
        axes.set_xlabel("device memory (GiB); the thick line is all there is")
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside lower center", ncols=len(MEMORY_PARTS), frameon=False)
        return figure
