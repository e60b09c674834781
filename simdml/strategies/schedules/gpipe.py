"""GPipe: every forward, then every backward (Huang et al., NeurIPS 2019; order of torch's ScheduleGPipe)."""

from __future__ import annotations

from simdml.strategies.schedules.actions import Action, Phase
from simdml.strategies.schedules.schedule import Schedule

PHASES: tuple[Phase, ...] = ("F", "B")


def order(device: int, depth: int, num_microbatches: int, chunks: int) -> list[Action]:
    """Return F0..F(m-1), B0..B(m-1); bubble (p-1)(F+B), all m micro-batches live at the turn."""
    del device, depth, chunks
    return [Action(phase, microbatch) for phase in PHASES for microbatch in range(num_microbatches)]


GPIPE = Schedule(
    "gpipe",
    "every forward, then every backward (Huang et al., NeurIPS 2019)",
    order,
    system="GPipe; torch ScheduleGPipe",
)
