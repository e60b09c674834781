"""Where every run is between its checkpoints.

A cycle is an interval of training and the stall of the checkpoint after it. ``position`` is where in a cycle a run is,
in seconds at the rated speed: below the interval it trains, beyond it stalls. A slow node stretches the former alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simdml.studies.goodput.campaign import Campaign

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


class Cycles:
    """Cycles done, and the place in the current one, now and where a restart would go on (``kept``).

    ``since`` is the wall time since the last cycle ended, or since the restart if none has; ``last_s`` how long the
    last cycle took. Its checkpoint is lost in a failure that comes before it is written.
    """

    def __init__(self, campaign: Campaign, runs: int) -> None:
        self._checkpoints = campaign.checkpoints
        self._last = campaign.last_cycle if np.isfinite(campaign.work_s) else np.iinfo(np.int64).max
        self._last_interval_s = campaign.last_interval_s if np.isfinite(campaign.work_s) else np.inf
        self.done = np.zeros(runs, dtype=np.int64)
        self.position = np.zeros(runs)
        self.kept = np.zeros(runs, dtype=np.int64)
        self.kept_position = np.zeros(runs)
        self.since = np.zeros(runs)
        self.last_s = np.zeros(runs)

    def until_end(self, factor: Floats) -> Floats:
        """Return the wall time until training ends if nothing happens; steps take ``factor`` times as long."""
        if not np.isfinite(self._last_interval_s):
            return np.full(len(factor), np.inf)
        checkpoints = self._checkpoints
        whole = np.maximum(self._last - self.done, 0) * (checkpoints.interval_s * factor + checkpoints.stall_s)
        last = self._last_interval_s * factor + checkpoints.whole_s
        left: Floats = whole + last - self._wall(self.position, self._interval(self.done), factor)
        return left

    def advance(self, rows: Rows, passed: Floats, factor: Floats) -> None:
        """Let ``passed`` seconds pass in runs that train, none beyond its end."""
        checkpoints, passed, factor = self._checkpoints, passed[rows], factor[rows]
        cycle_s = checkpoints.interval_s * factor + checkpoints.stall_s
        before = self._wall(self.position[rows], self._interval(self.done[rows]), factor)
        crossed = np.minimum(np.floor((before + passed) / cycle_s), self._last - self.done[rows]).astype(np.int64)
        crossed = np.maximum(crossed, 0)
        into = before + passed - crossed * cycle_s
        one = self.since[rows] + cycle_s - before
        self.last_s[rows] = np.where(crossed > 1, cycle_s, np.where(crossed == 1, one, self.last_s[rows]))
        self.since[rows] = np.where(crossed > 0, into, self.since[rows] + passed)
        self.done[rows] += crossed
        self.position[rows] = self._rated(into, self._interval(self.done[rows]), factor)

    def fall_back(self, rows: Rows) -> Floats:
        """Return the seconds lost by a failure in ``rows``, which go back to the last checkpoint that is written."""
        done = self.done[rows] - self.kept[rows]
        written = (done == 0) | (self.since[rows] >= self._checkpoints.write_s)
        lost: Floats = self.since[rows] + np.where(written, 0.0, self.last_s[rows])
        new = done - (~written)
        self.kept_position[rows] = np.where(new > 0, 0.0, self.kept_position[rows])
        self.kept[rows] += new
        self._go_on(rows)
        return lost

    def save(self, rows: Rows) -> Floats:
        """Keep where ``rows`` are; return the seconds of a stall that was under way and is not needed any more."""
        interval = self._interval(self.done[rows])
        stalled: Floats = np.maximum(self.position[rows] - interval, 0.0)
        self.kept[rows] = self.done[rows]
        self.kept_position[rows] = np.minimum(self.position[rows], interval)
        self._go_on(rows)
        return stalled

    def done_s(self) -> Floats:
        """Return the training that was done, in seconds at the rated speed."""
        done = self.done.astype(np.float64) * self._checkpoints.interval_s
        trained: Floats = done + np.minimum(self.position, self._interval(self.done))
        return trained

    def stalls_s(self) -> Floats:
        """Return what the stalls of checkpoints took that were kept."""
        whole = self.done.astype(np.float64) * self._checkpoints.stall_s
        stalls: Floats = whole + np.maximum(self.position - self._interval(self.done), 0.0)
        return stalls

    def _go_on(self, rows: Rows) -> None:
        self.done[rows], self.position[rows] = self.kept[rows], self.kept_position[rows]
        self.since[rows] = self.last_s[rows] = 0.0

    def _interval(self, done: Rows) -> Floats:
        return np.where(done >= self._last, self._last_interval_s, self._checkpoints.interval_s)

    @staticmethod
    def _wall(position: Floats, interval: Floats, factor: Floats) -> Floats:
        wall: Floats = np.minimum(position, interval) * factor + np.maximum(position - interval, 0.0)
        return wall

    @staticmethod
    def _rated(wall: Floats, interval: Floats, factor: Floats) -> Floats:
        rated: Floats = np.minimum(wall / factor, interval) + np.maximum(wall - interval * factor, 0.0)
        return rated
