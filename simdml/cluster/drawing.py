"""Boxes, lines and colours shared by the pictures of clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#22303c"
FILLS: Mapping[str, str] = MappingProxyType(
    {
        "gpu": "#76b900",
        "nvswitch": "#cfe8a0",
        "nic": "#f2a33a",
        "pcie": "#c9d6e2",
        "socket": "#8fb3d9",
        "memory": "#e4e9ee",
        "host": "#e4e9ee",
        "switch": "#c9d6e2",
        "node": "#eef3e2",
        "leaf": "#f7cf94",
        "spine": "#eebf8a",
        "core": "#e3a873",
    }
)
LINES: Mapping[str, str] = MappingProxyType(
    {
        "nvlink": "#5c9100",
        "c2c": "#2a9d8f",
        "pcie": "#60788f",
        "socket": "#3568a8",
        "host_memory": "#a5b1bd",
        "nic": "#d97f0f",
        "leaf": "#c0651a",
        "spine": "#9c4a12",
        "link": "#60788f",
    }
)

Point = tuple[float, float]


def box(axes: Axes, centre: Point, size: Point, text: str, kind: str, fontsize: float = 9) -> None:
    """Draw a rounded box of ``size`` with ``text``."""
    from matplotlib.patches import FancyBboxPatch

    corner = (centre[0] - size[0] / 2, centre[1] - size[1] / 2)
    style = f"round,pad=0,rounding_size={min(size) * 0.18}"
    fill = FILLS.get(kind, "#ffffff")
    axes.add_patch(FancyBboxPatch(corner, *size, boxstyle=style, facecolor=fill, edgecolor=INK, lw=0.9, zorder=3))
    axes.text(*centre, text, ha="center", va="center", fontsize=fontsize, color=INK, zorder=4, linespacing=1.25)


def line(axes: Axes, points: Sequence[Point], kind: str, width: float = 1.6) -> None:
    """Draw a line through ``points`` in the colour of the link's kind."""
    horizontal, vertical = zip(*points, strict=True)
    axes.plot(horizontal, vertical, color=LINES.get(kind, INK), lw=width, zorder=1, solid_capstyle="round")


def legend(axes: Axes, title: str, entries: Sequence[tuple[str, str, float]], columns: int = 4) -> None:
    """Draw ``title`` and a legend of lines (label, kind, width) above the picture."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=LINES.get(kind, INK), lw=width, label=label) for label, kind, width in entries]
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns,
        frameon=False,
        fontsize=9.5,
        borderaxespad=0,
        title=title,
        title_fontsize=11,
        alignment="left",
    )


def elided(items: Sequence[int], most: int) -> list[int | None]:
    """Return at most ``most`` of ``items``, the last among them, with None where some are left out."""
    if len(items) <= most:
        return list(items)
    return [*items[: most - 2], None, items[-1]]
