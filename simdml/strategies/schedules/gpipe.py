"""GPipe: every forward, then every backward (Huang et al., NeurIPS 2019; order of torch's ScheduleGPipe)."""

from __future__ import annotations

from simdml.errors import InfeasibleError
from simdml.strategies.schedules.actions import Action


def gpipe(stage: int, num_stages: int, num_microbatches: int, num_chunks: int) -> list[Action]:
    """Return F0..F(m-1), B0..B(m-1); bubble (p-1)(F+B), all m micro-batches live at the turn."""
    del stage, num_stages
    if num_chunks != 1:
        raise InfeasibleError(f"gpipe has one chunk on each stage, not {num_chunks}")
    return [Action(phase, microbatch) for phase in ("F", "B") for microbatch in range(num_microbatches)]
