"""A picture of a fit against the readings it was made of, or is held to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from matplotlib import rc_context
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from simdml.errors import OutputError
from simdml.units import format_time

SUFFIXES: Final = (".png", ".svg", ".pdf")
_STYLE: Final = {"font.size": 9.0, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "simdml"}
_COLORS: Final = ("#0a5c9c", "#c44e00", "#00805e", "#8c2d62", "#56b4e9", "#f0b429", "#5c5c5c", "#a8587f")
_MARKERS: Final = "os^Dv<>P"
_NUMBERS_OF_A_DECADE: Final = (
    (0.8, tuple(float(digit) for digit in range(1, 10))),
    (2.5, (1.0, 2.0, 5.0)),
    (math.inf, (1.0,)),
)

Points = Sequence[tuple[float, float]]


def fit_figure(title: str, groups: Mapping[str, Points]) -> Figure:
    """Return predicted over measured seconds: on the left against each other, on the right their ratio.

    ``groups`` has (measured, predicted) seconds by what they are of; each gets a colour and a marker.
    """
    with rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(10.0, 4.8), layout="constrained")
        both, ratio = figure.subplots(1, 2)
        figure.suptitle(title, fontsize=11)
        every = [value for points in groups.values() for pair in points for value in pair]
        low, high = min(every), max(every)
        both.plot([low, high], [low, high], color="#a9a9a9", lw=1.0, zorder=0)
        ratio.axhline(1.0, color="#a9a9a9", lw=1.0, zorder=0)
        for index, (name, points) in enumerate(groups.items()):
            measured, predicted = zip(*points, strict=True)
            look = {
                "color": _COLORS[index % len(_COLORS)],
                "marker": _MARKERS[index // len(_COLORS) % len(_MARKERS)],
                "s": 14.0,
                "alpha": 0.75,
            }
            both.scatter(measured, predicted, label=name, **look)
            ratio.scatter(measured, [b / a for a, b in points], **look)
        both.set(xscale="log", yscale="log", xlabel="measured", ylabel="predicted")
        ratio.set(xscale="log", yscale="log", xlabel="measured", ylabel="predicted / measured")
        for axis in (both.xaxis, both.yaxis, ratio.xaxis):
            _mark(axis, format_time)
        _mark(ratio.yaxis, "{:g}".format)
        figure.legend(loc="outside right upper", frameon=False, fontsize=8)
        return figure


def _mark(axis: Axis, words: Callable[[float], str]) -> None:
    """Put few round numbers on a logarithmic axis: the fewer a decade, the more decades it spans."""
    low, high = sorted(axis.get_view_interval())
    decades = math.log10(high / low)
    subs = next(subs for most, subs in _NUMBERS_OF_A_DECADE if decades < most)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: words(value)))
    axis.set_minor_formatter(NullFormatter())


def save_fit_figure(path: Path, title: str, groups: Mapping[str, Points]) -> None:
    """Write the figure as the suffix of ``path`` says; equal input, equal bytes. Raises OutputError for a suffix."""
    if path.suffix not in SUFFIXES:
        raise OutputError(f"{path}: a picture is {', '.join(SUFFIXES)}", hint=f"for example {path.stem}.svg")
    metadata = {"Date": None} if path.suffix == ".svg" else {"CreationDate": None} if path.suffix == ".pdf" else {}
    fit_figure(title, groups).savefig(path, dpi=150, metadata=metadata)
