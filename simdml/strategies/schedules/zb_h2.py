"""ZB-H2: no bubble, in twice the memory of 1F1B (Qi et al., ICLR 2024, arXiv 2401.10241, section 2.2)."""

from __future__ import annotations

from simdml.strategies.schedules.actions import Action
from simdml.strategies.schedules.schedule import Schedule
from simdml.strategies.schedules.zero_bubble import deferred_weights


def order(device: int, depth: int, num_microbatches: int, chunks: int) -> list[Action]:
    """Return zero bubble with twice 1F1B's warm-up: no bubble if F = I = W, at most 2p-1 micro-batches live.

    Steps join without a gap only if the optimizer does not wait for all devices (the paper's post-validation).
    """
    del chunks
    return deferred_weights(2 * (depth - 1 - device), 2 * device, num_microbatches)


ZB_H2 = Schedule(
    "zb_h2",
    "zero bubble with twice the warm-up of 1F1B: none if F = I = W (arXiv 2401.10241)",
    order,
    system="Zero Bubble (sail-sg)",
)
