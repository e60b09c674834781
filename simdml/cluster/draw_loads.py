"""How much of a cluster's links a job uses, on the cluster's picture: by the width of lines and in the legends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from simdml.cluster.drawing import LINES, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDEST = 5.0
_LEGEND_COLUMNS = 2


def draw_loads(figure: Figure, loads: Mapping[str, float]) -> Figure:
    """Return the picture of a cluster with ``loads``: the busiest link of each kind, as a share of its capacity.

    Links of kinds that carry nothing are dotted; the busier the others are, the wider.
    """
    for axes in figure.axes:
        for drawn in axes.get_lines():
            kind = _kind(drawn.get_color(), loads)
            if kind is None:
                drawn.set_linestyle(":")
            else:
                drawn.set_linewidth(float(drawn.get_linewidth()) + _WIDEST * loads[kind])
        _name_loads(axes, loads)
    return figure


def _kind(color: Any, loads: Mapping[str, float]) -> str | None:
    """Return which of ``loads`` is drawn in ``color``."""
    return next((kind for kind in loads if LINES.get(kind) == color), None)


def _name_loads(axes: Axes, loads: Mapping[str, float]) -> None:
    old = axes.get_legend()
    if old is None:
        return
    entries = []
    for handle, text in zip(old.legend_handles, old.get_texts(), strict=True):
        color = handle.get_color()  # type: ignore[union-attr]
        kind = _kind(color, loads)
        share = "not used" if kind is None else f"busiest {100 * loads[kind]:.1f} % in use"
        drawn_as = next((name for name, known in LINES.items() if known == color), "link")
        entries.append((f"{text.get_text()}; {share}", drawn_as, handle.get_linewidth()))  # type: ignore[union-attr]
    legend(axes, old.get_title().get_text(), entries, columns=_LEGEND_COLUMNS)
