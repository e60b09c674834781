"""Predicted against measured step times as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from simdml.validation.live.jobs import PIPELINES, SERVERS
from simdml.validation.live.study import LiveRow, LiveValidation

_FAMILIES: Final = (
    ("data parallel", "#0a5c9c", "o"),
    ("pipelines", "#c44e00", "s"),
    ("parameter servers", "#00805e", "^"),
)
_TICKS_S: Final = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)


def live_figure(validation: LiveValidation) -> Figure:
    """Return predicted over measured step times, with the line of equality and 90 % intervals."""
    figure = Figure(figsize=(6.0, 5.6), layout="constrained")
    axes = figure.subplots()
    times = [value for row in validation.rows for value in (row.measured.step_s, row.predicted.step_s)]
    ends = min(times) / 1.3, max(times) * 1.3
    axes.plot(ends, ends, color="#777777", linewidth=1.0, label="equal")
    axes.fill_between(ends, [0.9 * end for end in ends], [1.1 * end for end in ends], color="#eeeeee", label="10 %")
    for number, (name, color, marker) in enumerate(_FAMILIES):
        rows = [row for row in validation.rows if _family(row) == number]
        if not rows:
            continue
        measured, predicted = [row.measured.step_s for row in rows], [row.predicted for row in rows]
        axes.errorbar(
            measured,
            [each.step_s for each in predicted],
            yerr=([each.step_s - each.low_s for each in predicted], [each.high_s - each.step_s for each in predicted]),
            fmt=marker,
            color=color,
            capsize=2.5,
            markersize=6,
            label=name,
        )
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    ticks = [tick for tick in _TICKS_S if ends[0] < tick < ends[1]]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))
        axis.set_minor_locator(NullLocator())
    axes.set_xlabel("measured step time (s)")
    axes.set_ylabel("predicted step time (s), 90 % interval")
    axes.set_title(
        f"{len(validation.rows)} runs: median error {100 * validation.median_error:.1f} %, "
        f"worst {100 * validation.worst_error:.1f} %",
        fontsize=10,
    )
    axes.legend(frameon=False, loc="upper left")
    return figure


def _family(row: LiveRow) -> int:
    return 1 if row.job.strategy in PIPELINES else 2 if row.job.strategy in SERVERS else 0


def save_live_figure(validation: LiveValidation, path: Path) -> None:
    """Draw to ``path``, as its suffix says."""
    live_figure(validation).savefig(path, dpi=150)
