"""V-Min: a third of 1F1B's activations for two thirds of its bubble (Qi et al., arXiv 2405.15362, section 3.2)."""

from __future__ import annotations

from simdml.strategies.schedules.actions import Action
from simdml.strategies.schedules.building_block import BuildingBlock
from simdml.strategies.schedules.placement import v_shaped
from simdml.strategies.schedules.schedule import Schedule


def order(device: int, depth: int, num_microbatches: int, chunks: int) -> list[Action]:
    """Return passes one unit of time from device to device, each in its slot.

    With F = I = W, a device holds about 2p/3 chunks of micro-batches, of the 2p that 1F1B's first one holds, and idles
    for 4p - 5 of them in a step, or 4p - 3 if three divides p; 1F1B for 6(p - 1).
    """
    del chunks
    return BuildingBlock(depth, down=1, up=1, back_down=1, back_up=1).order(device, num_microbatches)


V_MIN = Schedule(
    "v_min",
    "a V of two chunks in a third of the activations of 1F1B, with two thirds of its bubble (arXiv 2405.15362)",
    order,
    paths=v_shaped,
    chunks=2,
    system="Zero Bubble (sail-sg)",
)
