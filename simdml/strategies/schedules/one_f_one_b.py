"""1F1B with flush (PipeDream-Flush; Megatron-LM's non-interleaved schedule; torch's Schedule1F1B)."""

from __future__ import annotations

from simdml.strategies.schedules.actions import Action
from simdml.strategies.schedules.schedule import Schedule


def order(device: int, depth: int, num_microbatches: int, chunks: int) -> list[Action]:
    """Return min(p-1-i, m) forwards, then forward and backward in turn, then the backwards left.

    Bubble (p-1)(F+B) as GPipe, but at most min(p-i, m) micro-batches live on device i (Narayanan et al., SC21,
    section 2.2; NVIDIA/Megatron-LM:megatron/core/pipeline_parallel/schedules.py).
    """
    del chunks
    warm_up = min(depth - 1 - device, num_microbatches)
    actions = [Action("F", microbatch) for microbatch in range(warm_up)]
    for microbatch in range(num_microbatches - warm_up):
        actions += [Action("F", microbatch + warm_up), Action("B", microbatch)]
    return actions + [Action("B", microbatch) for microbatch in range(num_microbatches - warm_up, num_microbatches)]


ONE_F_ONE_B = Schedule(
    "1f1b",
    "one forward, one backward in turn, with flush (PipeDream-Flush; Megatron-LM's default)",
    order,
    waits_for_sends=True,
    system="PipeDream-Flush; Megatron-LM; torch Schedule1F1B",
)
