"""What a pipeline schedule says: the order of forwards and backwards on each stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Action:
    """Forward (F) or backward (B) of one micro-batch through one chunk of the device."""

    phase: Literal["F", "B"]
    microbatch: int
    chunk: int = 0

    def __str__(self) -> str:
        return f"{self.phase}{self.microbatch}" + (f"c{self.chunk}" if self.chunk else "")


Schedule = Callable[[int, int, int, int], list[Action]]
"""``schedule(stage, num_stages, num_microbatches, num_chunks)`` gives the order on one device.

Raises InfeasibleError where the combination is impossible.
"""
