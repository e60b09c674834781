"""What a pipeline schedule says about one device: which parts of which micro-batches it runs, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Phase = Literal["F", "B", "I", "W"]
"""Forward, whole backward, and its two halves: the gradients of the inputs and those of the weights (torch's names)."""


@dataclass(frozen=True, slots=True)
class Action:
    """One phase of one micro-batch through one chunk of the device.

    ``with_next`` joins a forward and the backward after it into a pair whose communication hides behind each other's
    computation (DualPipe); their kernels share the device, so that they take as long as one after the other.
    """

    phase: Phase
    microbatch: int
    chunk: int = 0
    with_next: bool = False

    def __str__(self) -> str:
        return f"{self.phase}{self.microbatch}" + (f"c{self.chunk}" if self.chunk else "")
