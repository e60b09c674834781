"""Interleaved 1F1B: every device holds several chunks of the model (Narayanan et al., SC21, section 2.2)."""

from __future__ import annotations

from simdml.errors import InfeasibleError
from simdml.strategies.schedules.actions import Action


def interleaved_1f1b(stage: int, num_stages: int, num_microbatches: int, num_chunks: int) -> list[Action]:
    """Return Megatron-LM's order: groups of p micro-batches pass chunk 0, then chunk 1, and so on.

    Warm-up is 2(p-1-i) + (v-1)p chunk forwards, then forward and backward in turn; backward visits the chunks in
    reverse. Bubble (p-1)(F+B)/v (NVIDIA/Megatron-LM:megatron/core/pipeline_parallel/schedules.py).
    """
    if num_microbatches % num_stages:
        raise InfeasibleError(
            f"interleaved_1f1b passes micro-batches in groups of {num_stages} (the number of stages), "
            f"and {num_microbatches} micro-batches do not divide into them",
            hint=f"use a multiple of {num_stages} micro-batches, or 1f1b",
        )
    total = num_microbatches * num_chunks
    warm_up = min(2 * (num_stages - 1 - stage) + (num_chunks - 1) * num_stages, total)
    forwards = [_unit("F", k, num_stages, num_chunks) for k in range(total)]
    backwards = [_unit("B", k, num_stages, num_chunks) for k in range(total)]
    actions = forwards[:warm_up]
    for forward, backward in zip(forwards[warm_up:], backwards, strict=False):
        actions += [forward, backward]
    return actions + backwards[total - warm_up :]


def _unit(phase: str, k: int, num_stages: int, num_chunks: int) -> Action:
    group, within = divmod(k, num_stages * num_chunks)
    chunk, position = divmod(within, num_stages)
    microbatch = group * num_stages + position
    if phase == "F":
        return Action("F", microbatch, chunk)
    return Action("B", microbatch, num_chunks - 1 - chunk)
