"""ZB-V: zero bubble in the memory of 1F1B, on a V of two chunks a device (Qi et al., arXiv 2401.10241, section 6)."""

from __future__ import annotations

from collections.abc import Iterator

from simdml.strategies.schedules.actions import Action, Phase
from simdml.strategies.schedules.placement import v_shaped
from simdml.strategies.schedules.schedule import Schedule


def order(device: int, depth: int, num_microbatches: int, chunks: int) -> list[Action]:
    """Return torch's ScheduleZBVZeroBubble (torch/distributed/pipelining/schedules.py, 2.11).

    No bubble if F = I = W, at most p micro-batches (2p chunks) live on any device. The pattern needs 2p - 1
    micro-batches; of fewer, those that do not exist are left out.
    """
    del chunks
    return [a for a in _pattern(device, depth, max(2 * depth - 1, num_microbatches)) if a.microbatch < num_microbatches]


def _pattern(device: int, depth: int, num_microbatches: int) -> Iterator[Action]:
    done: dict[tuple[Phase, int], int] = {(phase, chunk): 0 for phase in ("F", "I", "W") for chunk in (0, 1)}

    def run(*phases: Phase, chunk: int) -> Iterator[Action]:
        for phase in phases:
            yield Action(phase, done[phase, chunk], chunk)
            done[phase, chunk] += 1

    for _ in range(2 * (depth - device) - 1):
        yield from run("F", chunk=0)
    for _ in range(device):
        yield from run("F", chunk=1)
        yield from run("F", chunk=0)
    for _ in range(depth - device):
        yield from run("F", "I", "W", chunk=1)
    while done["F", 1] < done["F", 0] or done["F", 0] < num_microbatches:
        if done["F", 0] < num_microbatches:
            yield from run("F", chunk=0)
        yield from run("I", "W", chunk=0)
        yield from run("F", "I", "W", chunk=1)
    for _ in range(device):
        yield from run("I", chunk=0)
        yield from run("I", chunk=1)
    for _ in range(depth - device):
        yield from run("I", "W", chunk=0)
    for chunk in (1, 0):
        while done["W", chunk] < done["I", chunk]:
            yield from run("W", chunk=chunk)


ZB_V = Schedule(
    "zb_v",
    "zero bubble on a V of two chunks a device, in the memory of 1F1B (arXiv 2401.10241)",
    order,
    paths=v_shaped,
    chunks=2,
    system="Zero Bubble (sail-sg); torch ScheduleZBVZeroBubble",
)
