"""DualPipe: two copies of the model, fed from both ends (DeepSeek-AI, arXiv 2412.19437, section 3.2.1)."""

from __future__ import annotations

from simdml.errors import InfeasibleError
from simdml.strategies.schedules.actions import Action
from simdml.strategies.schedules.overlapped_pairs import OverlappedPairs
from simdml.strategies.schedules.placement import both_ways
from simdml.strategies.schedules.schedule import Schedule


def order(device: int, depth: int, num_microbatches: int, chunks: int) -> list[Action]:
    """Return the order of deepseek-ai/DualPipe: half the micro-batches from each end.

    Bubble (p/2-1)(F&B + B - 3W), at most p+1 micro-batches live, twice the parameters.
    """
    del chunks
    if depth % 2 or num_microbatches % 2 or num_microbatches < 2 * depth:
        raise InfeasibleError(
            f"dual_pipe needs an even number of devices and an even number of micro-batches, at least twice as many; "
            f"found {depth} devices and {num_microbatches} micro-batches",
            hint=f"{2 * depth} or more micro-batches over {depth + depth % 2} devices, or dual_pipe_v",
        )
    position = min(device, depth - 1 - device)
    return list(OverlappedPairs(position, depth // 2, num_microbatches // 2).actions())


DUAL_PIPE = Schedule(
    "dual_pipe",
    "two copies of the model fed from both ends, forwards overlapped with backwards (DeepSeek-V3)",
    order,
    paths=both_ways,
    chunks=2,
    system="DeepSeek-V3",
)
