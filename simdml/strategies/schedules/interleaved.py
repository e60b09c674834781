"""Interleaved 1F1B: every device holds several chunks of the model (Narayanan et al., SC21, section 2.2)."""

from __future__ import annotations

from simdml.errors import InfeasibleError
from simdml.strategies.schedules.actions import Action
from simdml.strategies.schedules.rounds import Rounds
from simdml.strategies.schedules.schedule import Schedule


def order(device: int, depth: int, num_microbatches: int, chunks: int) -> list[Action]:
    """Return Megatron-LM's order: groups of p micro-batches pass chunk 0, then chunk 1, and so on.

    Warm-up is 2(p-1-i) + (v-1)p chunk forwards, then forward and backward in turn; backward visits the chunks in
    reverse. Bubble (p-1)(F+B)/v (NVIDIA/Megatron-LM:megatron/core/pipeline_parallel/schedules.py).
    """
    if num_microbatches % depth:
        raise InfeasibleError(
            f"interleaved_1f1b passes micro-batches in groups of {depth} (the number of stages), "
            f"and {num_microbatches} micro-batches do not divide into them",
            hint=f"use a multiple of {depth} micro-batches, or 1f1b",
        )
    rounds = Rounds(num_microbatches, depth, chunks)
    warm_up = min(2 * (depth - 1 - device) + (chunks - 1) * depth, rounds.total)
    forwards, backwards = rounds.forwards(), rounds.backwards("B")
    actions = forwards[:warm_up]
    for forward, backward in zip(forwards[warm_up:], backwards, strict=False):
        actions += [forward, backward]
    return actions + backwards[rounds.total - warm_up :]


INTERLEAVED_1F1B = Schedule(
    "interleaved_1f1b",
    "1F1B over several chunks of the model on each device (Narayanan et al., SC21)",
    order,
    chunks=2,
    any_chunks=True,
    system="Megatron-LM with virtual stages",
)
