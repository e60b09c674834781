"""Pipeline schedules by name; a new one is one file and one line here, or a file that a scenario names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from simdml.errors import UnknownNameError
from simdml.registry import Registry
from simdml.strategies.schedules.actions import Action
from simdml.strategies.schedules.placement import Placement, both_ways, looped, v_shaped
from simdml.strategies.schedules.schedule import Schedule

SCHEDULES: Final[Mapping[str, Schedule]] = Registry(
    "simdml.strategies.schedules",
    {
        "gpipe": "gpipe:GPIPE",
        "1f1b": "one_f_one_b:ONE_F_ONE_B",
        "interleaved_1f1b": "interleaved:INTERLEAVED_1F1B",
        "looped_bfs": "looped_bfs:LOOPED_BFS",
        "zb_h1": "zb_h1:ZB_H1",
        "zb_h2": "zb_h2:ZB_H2",
        "interleaved_zero_bubble": "interleaved_zero_bubble:INTERLEAVED_ZERO_BUBBLE",
        "zb_v": "zb_v:ZB_V",
        "v_half": "v_half:V_HALF",
        "v_min": "v_min:V_MIN",
        "dual_pipe": "dual_pipe:DUAL_PIPE",
        "dual_pipe_v": "dual_pipe_v:DUAL_PIPE_V",
        "pipedream": "pipedream:PIPEDREAM",
        "pipedream_2bw": "pipedream_2bw:PIPEDREAM_2BW",
    },
)


def find_schedule(name: str | Schedule) -> Schedule:
    """Return the schedule called ``name``, or ``name`` itself if it is one.

    Raises:
        UnknownNameError: with the nearest names.
    """
    if isinstance(name, Schedule):
        return name
    if name not in SCHEDULES:
        raise UnknownNameError("pipeline schedule", name, SCHEDULES)
    return SCHEDULES[name]


__all__ = ["SCHEDULES", "Action", "Placement", "Schedule", "both_ways", "find_schedule", "looped", "v_shaped"]
