"""Nodes that stand by, and those in repair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simdml.studies.goodput.campaign import Campaign


class SpareNodes:
    """For every run, when each spare is healthy: a node that is replaced becomes a spare once it is repaired."""

    def __init__(self, campaign: Campaign, runs: int) -> None:
        self._repair_s = campaign.repair_s
        self._spares = campaign.spares
        self._ready = np.zeros((runs, campaign.spares or 0))

    def take(self, rows: NDArray[np.int64], now: NDArray[np.float64]) -> NDArray[np.float64]:
        """Replace a node of each of ``rows`` at ``now``; return how long it is waited for.

        The spare that is healthy first is taken. Without any spare the node itself is waited for.
        """
        if self._spares is None:
            return np.zeros(len(rows))
        if not self._spares:
            return np.full(len(rows), self._repair_s)
        spare = self._ready[rows].argmin(axis=1)
        waited: NDArray[np.float64] = np.maximum(self._ready[rows, spare] - now, 0.0)
        self._ready[rows, spare] = now + self._repair_s
        return waited
