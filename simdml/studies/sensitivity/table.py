"""Sensitivities as rows of text."""

from __future__ import annotations

from typing import Final

from simdml.studies.sensitivity.tornado import FELT, Effect, Sensitivity
from simdml.units import format_time

COLUMNS: Final = ("turned", "twice as good", "saves", "half as good", "adds", "")
_BAR_WIDTH: Final = 12
_NONE: Final = "-"


def rows(found: Sensitivity) -> list[list[str]]:
    """Return a row for every knob that is felt either way, and one that names the others."""
    felt = [effect for effect in found.effects if _felt(found, effect)]
    largest = max((max(found.gain(e), found.loss(e)) for e in felt), default=1.0)
    shown = [_row(found, effect, largest) for effect in felt]
    names = [effect.knob.name for effect in found.effects if effect not in felt]
    if names:
        shown.append([f"less than {100 * FELT:.0f} % either way: {', '.join(names)}", "", "", "", "", ""])
    return shown


def _felt(found: Sensitivity, effect: Effect) -> bool:
    return bool(effect.reason) or max(abs(found.gain(effect)), abs(found.loss(effect))) >= FELT


def _row(found: Sensitivity, effect: Effect, largest: float) -> list[str]:
    gain, loss = found.gain(effect), found.loss(effect)
    return [
        effect.knob.name,
        _NONE if effect.better_s is None else format_time(effect.better_s),
        _NONE if effect.better_s is None else _percent(gain),
        _NONE if effect.worse_s is None else format_time(effect.worse_s),
        _NONE if effect.worse_s is None else _percent(loss),
        effect.reason or f"{'-' * _length(gain, largest):>{_BAR_WIDTH}}|{'+' * _length(loss, largest)}",
    ]


def _length(share: float, largest: float) -> int:
    return round(max(share, 0.0) / largest * _BAR_WIDTH)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
