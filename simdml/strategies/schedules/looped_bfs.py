"""Looped breadth-first pipeline: all micro-batches through a chunk before the next (Lamy-Poirier, MLSys 2023)."""

from __future__ import annotations

from simdml.strategies.schedules.actions import Action
from simdml.strategies.schedules.schedule import Schedule


def order(device: int, depth: int, num_microbatches: int, chunks: int) -> list[Action]:
    """Return all forwards chunk by chunk, then the backwards in exactly the reverse order (torch's ScheduleLoopedBFS).

    Bubble (p-1)(F+B)/v; every micro-batch of every chunk is live at the turn (arXiv 2211.05953).
    """
    del device, depth
    units = [(microbatch, chunk) for chunk in range(chunks) for microbatch in range(num_microbatches)]
    return [Action("F", *unit) for unit in units] + [Action("B", *unit) for unit in reversed(units)]


LOOPED_BFS = Schedule(
    "looped_bfs",
    "all micro-batches through a chunk before the next chunk (Lamy-Poirier, arXiv 2211.05953)",
    order,
    chunks=2,
    any_chunks=True,
    system="torch ScheduleLoopedBFS",
)
