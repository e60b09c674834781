"""V-Half: half of 1F1B's activations for half of its bubble (Qi et al., arXiv 2405.15362, section 3.2)."""

from __future__ import annotations

from functools import lru_cache

from simdml.strategies.schedules.actions import Action
from simdml.strategies.schedules.building_block import BuildingBlock, Squeezed
from simdml.strategies.schedules.placement import v_shaped
from simdml.strategies.schedules.schedule import Schedule

KEPT = 16
PENDING = 1


def order(device: int, depth: int, num_microbatches: int, chunks: int) -> list[Action]:
    """Return passes one and two units of time from device to device in turns, squeezed.

    With F = I = W, a device holds p + 2 chunks of micro-batches at most, of the 2p that 1F1B's first one holds, and
    idles for 3(p - 1) of them in a step with an even p; 1F1B for 6(p - 1).
    """
    del chunks
    return list(_orders(depth, num_microbatches)[device])


@lru_cache(maxsize=KEPT)
def _orders(depth: int, num_microbatches: int) -> tuple[tuple[Action, ...], ...]:
    block = BuildingBlock(depth, down=1, up=2, back_down=1, back_up=2)
    return Squeezed(block, num_microbatches, PENDING).orders()


V_HALF = Schedule(
    "v_half",
    "a V of two chunks in half of the activations of 1F1B, with half of its bubble (arXiv 2405.15362)",
    order,
    paths=v_shaped,
    chunks=2,
    system="Zero Bubble (sail-sg)",
)
