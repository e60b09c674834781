"""A picture of alternatives: what each takes against what it gives, and the front that no other beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from simdml.reporting.saving import STYLE
from simdml.units import format_count

_WIDTH, _HEIGHT = 10.0, 4.6
_LABELLED: Final = 24
_INK: Final = "#1a1a1a"


@dataclass(frozen=True, slots=True)
class Alternative:
    """One choice: how it is labelled, what it takes (less is better), and what it gives (more is better)."""

    label: str
    takes: float
    gives: float
    chosen: bool = False


def front(alternatives: Sequence[Alternative]) -> list[Alternative]:
    """Return those that no other beats in one and matches in the other, from what takes least on."""
    found: list[Alternative] = []
    for each in sorted(alternatives, key=lambda each: (each.takes, -each.gives, each.label)):
        if not found or each.gives > found[-1].gives:
            found.append(each)
    return found


def pareto_figure(alternatives: Sequence[Alternative], takes: str, gives: str) -> Figure:
    """Return a figure with every alternative: filled and joined on the front, hollow behind it, a star if chosen."""
    with rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        axes = figure.subplots()
        best = front(alternatives)
        behind = [each for each in alternatives if each not in best]
        axes.step([e.takes for e in best], [e.gives for e in best], where="post", color=_INK, linewidth=1.0, zorder=1)
        look: dict[str, Any] = {"s": 46, "edgecolors": _INK, "zorder": 3}
        axes.scatter([e.takes for e in best], [e.gives for e in best], c=_INK, label="on the front", **look)
        if behind:
            places = [e.takes for e in behind], [e.gives for e in behind]
            axes.scatter(*places, c="white", label="another is better in both", **look)
        for each in alternatives:
            if each.chosen:
                star: dict[str, Any] = {"s": 260, "marker": "*", "c": "#f0b429", "edgecolors": _INK, "zorder": 4}
                axes.scatter([each.takes], [each.gives], label="chosen", **star)
        for each in alternatives if len(alternatives) <= _LABELLED else best:
            place: dict[str, Any] = {"xytext": (8, -11), "textcoords": "offset points"}
            axes.annotate(each.label, (each.takes, each.gives), **place)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_count(float(f"{value:.6g}"))))
        axes.set_xlabel(takes)
        axes.set_ylabel(gives)
        axes.set_ylim(0.0, 1.15 * max(each.gives for each in alternatives))
        axes.margins(x=0.08)
        axes.legend(frameon=False, loc="lower right")
        return figure
