"""Pipeline schedules by name; a new one is one file and one line here, or a file that a scenario names."""

from __future__ import annotations

from simdml.errors import UnknownNameError
from simdml.strategies.schedules.actions import Action
from simdml.strategies.schedules.dual_pipe import DUAL_PIPE
from simdml.strategies.schedules.dual_pipe_v import DUAL_PIPE_V
from simdml.strategies.schedules.gpipe import GPIPE
from simdml.strategies.schedules.interleaved import INTERLEAVED_1F1B
from simdml.strategies.schedules.interleaved_zero_bubble import INTERLEAVED_ZERO_BUBBLE
from simdml.strategies.schedules.looped_bfs import LOOPED_BFS
from simdml.strategies.schedules.one_f_one_b import ONE_F_ONE_B
from simdml.strategies.schedules.pipedream import PIPEDREAM
from simdml.strategies.schedules.pipedream_2bw import PIPEDREAM_2BW
from simdml.strategies.schedules.placement import Placement, both_ways, looped, v_shaped
from simdml.strategies.schedules.schedule import Schedule
from simdml.strategies.schedules.v_half import V_HALF
from simdml.strategies.schedules.v_min import V_MIN
from simdml.strategies.schedules.zb_h1 import ZB_H1
from simdml.strategies.schedules.zb_h2 import ZB_H2
from simdml.strategies.schedules.zb_v import ZB_V

SCHEDULES: dict[str, Schedule] = {
    schedule.name: schedule
    for schedule in (
        GPIPE,
        ONE_F_ONE_B,
        INTERLEAVED_1F1B,
        LOOPED_BFS,
        ZB_H1,
        ZB_H2,
        INTERLEAVED_ZERO_BUBBLE,
        ZB_V,
        V_HALF,
        V_MIN,
        DUAL_PIPE,
        DUAL_PIPE_V,
        PIPEDREAM,
        PIPEDREAM_2BW,
    )
}


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
