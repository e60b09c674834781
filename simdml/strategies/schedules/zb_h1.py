"""ZB-H1: zero bubble in the memory of 1F1B (Qi et al., ICLR 2024, arXiv 2401.10241, section 2.1)."""

from __future__ import annotations

from simdml.strategies.schedules.actions import Action
from simdml.strategies.schedules.schedule import Schedule
from simdml.strategies.schedules.zero_bubble import deferred_weights


def order(device: int, depth: int, num_microbatches: int, chunks: int) -> list[Action]:
    """Return 1F1B whose weight gradients fill the drain: bubble (p-1)(F+I-W), at most p micro-batches live."""
    del chunks
    return deferred_weights(depth - 1 - device, device, num_microbatches)


ZB_H1 = Schedule(
    "zb_h1",
    "1F1B whose weight gradients fill the drain: a third of its bubble (arXiv 2401.10241)",
    order,
    system="Zero Bubble (sail-sg)",
)
