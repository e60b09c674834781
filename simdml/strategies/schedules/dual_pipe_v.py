"""DualPipeV: DualPipe cut in half, one copy of the model on a V (deepseek-ai/DualPipe, dualpipev.py)."""

from __future__ import annotations

from simdml.errors import InfeasibleError
from simdml.strategies.schedules.actions import Action
from simdml.strategies.schedules.overlapped_pairs import OverlappedPairs
from simdml.strategies.schedules.placement import v_shaped
from simdml.strategies.schedules.schedule import Schedule


def order(device: int, depth: int, num_microbatches: int, chunks: int) -> list[Action]:
    """Return the order of deepseek-ai/DualPipe's dualpipev.py and torch's ScheduleDualPipeV.

    Bubble (p-1)(F&B + B - 3W) over p devices, of chunks that are half a device's layers.
    """
    del chunks
    if num_microbatches < 2 * depth:
        raise InfeasibleError(
            f"dual_pipe_v needs at least as many micro-batches as it has stages, {2 * depth}, not {num_microbatches}",
            hint=f"{2 * depth} micro-batches or more, or zb_v",
        )
    return list(OverlappedPairs(device, depth, num_microbatches).actions())


DUAL_PIPE_V = Schedule(
    "dual_pipe_v",
    "DualPipe with one copy of the model, on a V of two chunks a device (DeepSeek; torch's ScheduleDualPipeV)",
    order,
    paths=v_shaped,
    chunks=2,
    system="DeepSeek; torch ScheduleDualPipeV",
)
