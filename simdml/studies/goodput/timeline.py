"""The failure timeline of a campaign, many runs at a time: numpy arrays have an entry a run.

Every run alternates between training and restarting. Each turn of the loop takes every run to its own next event: the
end, a failure or another interruption, a slow node found, a restart come through. Times between failures are
exponential, so drawing the next one anew at every event leaves their distribution as it is. Checkpoints are no events:
how many fit between two is arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simdml.errors import InfeasibleError
from simdml.studies.goodput.campaign import Campaign
from simdml.studies.goodput.cycles import Cycles
from simdml.studies.goodput.spare_nodes import SpareNodes

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
MOST_EVENTS: Final = 200_000
"""Events of one run before it is given up: it would not end in any time worth waiting for."""
LOSSES: Final = ("lost work", "detection", "waiting for a node", "restart")


@dataclass(slots=True)
class Runs:
    """What became of every run: seconds, a row a run; ``losses`` are by (kind of :data:`LOSSES`, run, cause).

    ``wall_s`` is all of it: ``productive_s``, ``checkpoint_s``, ``slow_s`` and the losses. ``count`` are interruptions
    by cause, those during a restart among them.
    """

    wall_s: Floats
    productive_s: Floats
    checkpoint_s: Floats
    slow_s: Floats
    losses: Floats
    count: NDArray[np.int64]


def simulate_campaign(campaign: Campaign, runs: int, seed: int) -> Runs:
    """Return what became of ``runs`` runs of ``campaign``; the same for the same seed.

    Raises:
        InfeasibleError: training would hardly ever end.
    """
    timeline = _Timeline(campaign, runs, seed)
    for _ in range(MOST_EVENTS):
        if timeline.over.all():
            return timeline.finished()
        timeline.turn()
    raise InfeasibleError(
        f"after {MOST_EVENTS:,} interruptions training has not come to its end",
        hint="write checkpoints more often, or train on fewer nodes",
    )


class _Timeline:
    def __init__(self, campaign: Campaign, runs: int, seed: int) -> None:
        self.campaign = campaign
        failures, rates = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2))
        self.random = failures
        self.rates = _drawn_rates(campaign, runs, rates)
        self.cumulative = np.cumsum(self.rates, axis=1)
        self.total = self.cumulative[:, -1] if self.rates.shape[1] else np.zeros(runs)
        self.now = np.zeros(runs)
        self.over = np.zeros(runs, dtype=np.bool_)
        self.left = np.zeros(runs)
        self.cause = np.zeros(runs, dtype=np.int64)
        self.found_at = np.full(runs, np.inf)
        self.cycles = Cycles(campaign, runs)
        self.spare_nodes = SpareNodes(campaign, runs)
        self.losses = np.zeros((len(LOSSES), runs, max(len(campaign.causes), 1)))
        self.saving = np.zeros(runs)
        self.count = np.zeros((runs, len(campaign.causes)), dtype=np.int64)
        modes = campaign.interruptions
        self.detection = np.array([each.detection_s for each in modes] + [0.0] * (campaign.slow is not None))
        self.replaced = np.array([each.replaced for each in modes] + [True] * (campaign.slow is not None), np.bool_)
        self.planned = np.array([each.planned for each in modes] + [True] * (campaign.slow is not None), np.bool_)
        self.slow_cause = len(modes) if campaign.slow is not None else -1

    def turn(self) -> None:
        """Take every run that is not over to its next event."""
        running, restarting = ~self.over & (self.left <= 0), ~self.over & (self.left > 0)
        factor = np.where(np.isfinite(self.found_at), self.campaign.slow.factor if self.campaign.slow else 1.0, 1.0)
        with np.errstate(divide="ignore"):
            strike = self.random.exponential(size=len(self.now)) / self.total
        strike[self.total == 0] = np.inf
        end = np.where(running, self.cycles.until_end(factor), self.left)
        found = np.where(running, np.maximum(self.found_at - self.now, 0.0), np.inf)
        watched = np.maximum(self.campaign.period_s - self.now, 0.0)
        passed = np.where(self.over, 0.0, np.minimum(np.minimum(strike, end), np.minimum(found, watched)))
        self.now += passed
        self.cycles.advance(np.flatnonzero(running), passed, factor)
        rows = np.flatnonzero(restarting)
        self.losses[3, rows, self.cause[rows]] += passed[rows]
        self.left[rows] = np.where(passed[rows] == end[rows], 0.0, self.left[rows] - passed[rows])
        struck = ~self.over & (passed == strike) & (passed < np.minimum(end, watched))
        self.over |= (running & (passed == end)) | (passed == watched)
        if struck.any():
            self._interrupt(np.flatnonzero(struck), restarting)
        self._replace_slow(np.flatnonzero(~self.over & running & ~struck & (passed == found)))

    def finished(self) -> Runs:
        """Return the books; what training took beyond its rated speed is what is left."""
        productive, checkpoints = self.cycles.done_s(), self.cycles.stalls_s() + self.saving
        slow = self.now - productive - checkpoints - self.losses.sum(axis=(0, 2))
        slow[np.abs(slow) < 1e-6 * self.now] = 0.0
        causes = len(self.campaign.causes)
        return Runs(self.now, productive, checkpoints, slow, self.losses[:, :, :causes], self.count)

    def _interrupt(self, rows: Rows, restarting: NDArray[np.bool_]) -> None:
        """Let something that has a rate happen: a failure, an announced interruption, or a node that gets slow.

        Nothing is announced, and no node gets slow, during a restart.
        """
        cause = self._drawn_cause(rows)
        happens = ~(self.planned[cause] & restarting[rows])
        slow = happens & (cause == self.slow_cause)
        announced, fails = happens & ~slow & self.planned[cause], happens & ~self.planned[cause]
        self._slow_down(rows[slow])
        self._save(rows[announced], cause[announced])
        training = fails & ~restarting[rows]
        self.losses[0, rows[training], cause[training]] += self.cycles.fall_back(rows[training])
        self._bring_back(rows[announced | fails], cause[announced | fails])

    def _drawn_cause(self, rows: Rows) -> Rows:
        drawn = self.random.random(len(rows)) * self.total[rows]
        cause: Rows = (drawn[:, np.newaxis] >= self.cumulative[rows]).sum(axis=1)
        return np.minimum(cause, len(self.planned) - 1)

    def _slow_down(self, rows: Rows) -> None:
        if self.campaign.slow is not None:
            newly = rows[~np.isfinite(self.found_at[rows])]
            self.found_at[newly] = self.now[newly] + self.campaign.slow.found_after_s

    def _replace_slow(self, rows: Rows) -> None:
        if not len(rows):
            return
        cause = np.full(len(rows), self.slow_cause, dtype=np.int64)
        self._save(rows, cause)
        self.found_at[rows] = np.inf
        self._bring_back(rows, cause)

    def _save(self, rows: Rows, cause: Rows) -> None:
        """Write a checkpoint because of something announced."""
        self.losses[0, rows, cause] += self.cycles.save(rows)
        self.saving[rows] += self._pass(rows, np.full(len(rows), self.campaign.checkpoints.whole_s))

    def _bring_back(self, rows: Rows, cause: Rows) -> None:
        """Find out what happened, wait for a node, and begin the restart."""
        self.count[rows, cause] += 1
        self.losses[1, rows, cause] += self._pass(rows, self.detection[cause])
        replaced = self.replaced[cause]
        waited = self.spare_nodes.take(rows[replaced], self.now[rows[replaced]])
        self.losses[2, rows[replaced], cause[replaced]] += self._pass(rows[replaced], waited)
        self.left[rows] = self.campaign.restart_s
        self.cause[rows] = cause

    def _pass(self, rows: Rows, seconds: Floats) -> Floats:
        """Let time pass in which nothing can happen, as long as the job is watched; return how much."""
        passed = np.minimum(seconds, self.campaign.period_s - self.now[rows])
        self.now[rows] += passed
        self.over[rows] |= self.now[rows] >= self.campaign.period_s
        return passed


def _drawn_rates(campaign: Campaign, runs: int, random: np.random.Generator) -> Floats:
    """Return the rate of every cause in every run.

    Of a rate counted from ``k`` events, each run has its own: Gamma(k + 1/2) / k times it, what is known of a Poisson
    rate after ``k`` events with Jeffreys's prior.
    """
    columns = []
    for each in campaign.interruptions:
        shape = each.events + 0.5
        known = random.gamma(shape, size=runs) / each.events if each.events else np.ones(runs)
        columns.append(each.rate_per_s * known)
    if campaign.slow is not None:
        columns.append(np.full(runs, campaign.slow.rate_per_s))
    return np.stack(columns, axis=1) if columns else np.zeros((runs, 0))
