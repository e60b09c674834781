"""A picture of alternatives: where the time of each goes, one bar under the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from simdml.reporting.figures import time_unit
from simdml.reporting.palette import label_of, ordered, style_of
from simdml.reporting.saving import STYLE
from simdml.units import format_time

_WIDTH, _HEIGHT, _ROW = 10.0, 1.3, 0.32
_SEEN: Final = 0.002

Bar = tuple[str, Mapping[str, float]]
"""A label, and seconds by account."""


def accounts_figure(bars: Sequence[Bar], per: str) -> Figure:
    """Return a figure with a stacked bar of seconds by account for each alternative; ``per`` says of what."""
    with rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, _HEIGHT + _ROW * len(bars)), layout="constrained")
        axes = figure.subplots()
        longest = max(sum(seconds.values()) for _, seconds in bars)
        scale, unit = time_unit(longest)
        seen: set[str] = set()
        for row, (_, seconds) in enumerate(bars):
            left = 0.0
            for name in ordered(seconds):
                style = style_of(name)
                look: dict[str, Any] = {"color": style.color, "hatch": style.hatch, "edgecolor": "white"}
                axes.barh(row, scale * seconds[name], left=scale * left, height=0.74, linewidth=0.5, **look)
                left += seconds[name]
                if seconds[name] > _SEEN * longest:
                    seen.add(name)
            axes.annotate(f" {format_time(left)}", (scale * left, row), va="center")
        axes.set_yticks(range(len(bars)), [label for label, _ in bars])
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.set_xlim(0.0, 1.12 * scale * longest)
        axes.set_xlabel(f"time {per} ({unit})")
        axes.tick_params(axis="y", length=0)
        styles = {label_of(name): style_of(name) for name in ordered(seen)}
        patches = [
            Patch(facecolor=style.color, hatch=style.hatch, edgecolor="white", linewidth=0.4, label=label)
            for label, style in styles.items()
        ]
        figure.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), 6), frameon=False)
        return figure
