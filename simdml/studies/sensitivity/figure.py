"""A picture of sensitivities: how much longer or shorter a step is with each part of the job twice or half as good."""

from __future__ import annotations

from typing import Any, Final

from matplotlib import rc_context
from matplotlib.figure import Figure

from simdml.reporting.saving import STYLE
from simdml.studies.sensitivity.tornado import FELT, Sensitivity
from simdml.units import format_time

_WIDTH, _HEIGHT, _ROW = 10.0, 1.5, 0.34
_BETTER: Final[dict[str, Any]] = {"color": "#00805e", "label": "twice as good"}
_WORSE: Final[dict[str, Any]] = {"color": "#e07b39", "hatch": "////", "label": "half as good"}


def tornado_figure(found: Sensitivity) -> Figure:
    """Return a figure with a pair of bars for every knob that changes the step by more than a little."""
    felt = [e for e in found.effects if max(abs(found.gain(e)), abs(found.loss(e))) >= FELT]
    with rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, _HEIGHT + _ROW * len(felt)), layout="constrained")
        axes = figure.subplots()
        for row, effect in enumerate(felt):
            for change, look in ((-found.gain(effect), _BETTER), (found.loss(effect), _WORSE)):
                axes.barh(row, 100 * change, edgecolor="white", linewidth=0.5, **(look if row == 0 else _bare(look)))
                place: dict[str, Any] = {"xytext": (-4 if change < 0 else 4, 0), "textcoords": "offset points"}
                place |= {"ha": "right" if change < 0 else "left", "va": "center"}
                if abs(change) >= FELT / 4:
                    axes.annotate(f"{100 * change:+.0f} %", (100 * change, row), **place)
        axes.axvline(0.0, color="#333333", linewidth=0.8)
        axes.set_yticks(range(len(felt)), [effect.knob.name for effect in felt])
        axes.set_ylim(len(felt) - 0.4, -0.6)
        axes.margins(x=0.12)
        axes.set_xlabel(f"change of the step time of {format_time(found.step_time_s)} (%)")
        axes.set_title(f"{found.result.name}: what would help")
        if felt:
            axes.legend(frameon=False, loc="lower right")
        return figure


def _bare(look: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in look.items() if key != "label"}
