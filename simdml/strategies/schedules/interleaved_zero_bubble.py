"""Interleaved 1F1B with weight gradients put off (torch's ScheduleInterleavedZeroBubble, after arXiv 2401.10241)."""

from __future__ import annotations

from simdml.errors import InfeasibleError
from simdml.strategies.schedules.actions import Action
from simdml.strategies.schedules.rounds import Rounds
from simdml.strategies.schedules.schedule import Schedule


def order(device: int, depth: int, num_microbatches: int, chunks: int) -> list[Action]:
    """Return interleaved 1F1B with a warm-up of (p-1-i) + (v-1)r, whose weight gradients lag by i input gradients.

    Micro-batches pass in max(1, m // p) rounds of r (torch/distributed/pipelining/schedules.py, 2.11).
    """
    rounds = max(1, num_microbatches // depth)
    if num_microbatches % rounds:
        raise InfeasibleError(
            f"interleaved_zero_bubble passes micro-batches in {rounds} rounds over {depth} devices, "
            f"and {num_microbatches} micro-batches do not divide into them",
            hint=f"use a multiple of {depth} micro-batches, or zb_h1",
        )
    passes = Rounds(num_microbatches, num_microbatches // rounds, chunks)
    warm_up = min(depth - 1 - device + (chunks - 1) * passes.each, passes.total)
    forwards, inputs, weights = passes.forwards(), passes.backwards("I"), passes.backwards("W")
    actions = forwards[:warm_up]
    for number, backward in enumerate(inputs):
        actions += [*forwards[warm_up + number : warm_up + number + 1], backward]
        if number >= device:
            actions.append(weights[number - device])
    return actions + weights[max(0, passes.total - device) :]


INTERLEAVED_ZERO_BUBBLE = Schedule(
    "interleaved_zero_bubble",
    "interleaved 1F1B with weight gradients put off (torch's ScheduleInterleavedZeroBubble)",
    order,
    chunks=2,
    any_chunks=True,
    system="torch ScheduleInterleavedZeroBubble",
)
