"""1F1B with flush (PipeDream-Flush; Megatron-LM's non-interleaved schedule; torch's Schedule1F1B)."""

from __future__ import annotations

from simdml.errors import InfeasibleError
from simdml.strategies.schedules.actions import Action


def one_f_one_b(stage: int, num_stages: int, num_microbatches: int, num_chunks: int) -> list[Action]:
    """Return min(p-1-i, m) forwards, then forward and backward in turn, then the backwards left.

    Bubble (p-1)(F+B) as GPipe, but at most min(p-i, m) micro-batches live on stage i (Narayanan et al., SC21,
    section 2.2; NVIDIA/Megatron-LM:megatron/core/pipeline_parallel/schedules.py).
    """
    if num_chunks != 1:
        raise InfeasibleError(f"1f1b has one chunk on each stage, not {num_chunks}; interleaved_1f1b takes more")
    warm_up = min(num_stages - 1 - stage, num_microbatches)
    actions = [Action("F", microbatch) for microbatch in range(warm_up)]
    for microbatch in range(num_microbatches - warm_up):
        actions += [Action("F", microbatch + warm_up), Action("B", microbatch)]
    return actions + [Action("B", microbatch) for microbatch in range(num_microbatches - warm_up, num_microbatches)]
