"""Evaluation as a share of the time: never part of a step, always beside it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation takes ``seconds`` after ``every_steps`` training steps: ``passes`` of all replicas over a batch.

    The first pass fills pipelines and loaders, the others follow at once; the last one counts whole, full or not.
    """

    every_steps: int
    samples: int
    passes: int
    seconds: float

    def share(self, step_time_s: float) -> float:
        """Return the share of all time that is spent on evaluation."""
        return self.seconds / (self.every_steps * step_time_s + self.seconds)
