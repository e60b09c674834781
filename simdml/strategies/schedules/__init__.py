"""Pipeline schedules by name; a new one is one file and one line here."""

from __future__ import annotations

from simdml.errors import UnknownNameError
from simdml.strategies.schedules.actions import Action, Schedule
from simdml.strategies.schedules.gpipe import gpipe
from simdml.strategies.schedules.interleaved import interleaved_1f1b
from simdml.strategies.schedules.one_f_one_b import one_f_one_b

SCHEDULES: dict[str, Schedule] = {
    "gpipe": gpipe,
    "1f1b": one_f_one_b,
    "interleaved_1f1b": interleaved_1f1b,
}


def find_schedule(name: str) -> Schedule:
    """Return the schedule called ``name``.

    Raises:
        UnknownNameError: with the nearest names.
    """
    if name not in SCHEDULES:
        raise UnknownNameError("pipeline schedule", name, SCHEDULES)
    return SCHEDULES[name]


__all__ = ["SCHEDULES", "Action", "Schedule", "find_schedule"]
