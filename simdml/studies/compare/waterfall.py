"""The difference of two step times, attributed to accounts of the step; the parts add up to it exactly.

Times are compared in ticks of 2^-40 s, in which sums of whole numbers are exact. An account list that does not add up
to its step to the tick (a mean over steps, scaled) has the rest, far below a microsecond, put into its largest account.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simdml.engine.clock import TICKS_PER_SECOND, seconds
from simdml.results.saved import Predicted

RANK, PATH = "rank", "path"
SOURCES = (RANK, PATH)
"""Accounts of the rank that ends the step, or of the critical path."""


@dataclass(frozen=True, slots=True)
class Cause:
    """An account: ticks of a step in the reference and in the other."""

    account: str
    before: int
    after: int

    @property
    def ticks(self) -> int:
        """How much longer it takes in the other."""
        return self.after - self.before

    @property
    def seconds(self) -> float:
        """The same in seconds, exactly."""
        return seconds(self.ticks)


@dataclass(frozen=True, slots=True)
class Waterfall:
    """Step times in ticks, and the accounts that differ, largest difference first."""

    before: int
    after: int
    causes: tuple[Cause, ...]

    @property
    def ticks(self) -> int:
        """How much longer the step of the other is; the sum of the causes'."""
        return self.after - self.before

    def levels_s(self) -> list[float]:
        """Return the step time before the first cause, after each, in seconds."""
        level = self.before
        levels = [seconds(level)]
        for cause in self.causes:
            level += cause.ticks
            levels.append(seconds(level))
        return levels


def accounts_of(result: Predicted, source: str = RANK) -> Mapping[str, float]:
    """Return seconds of a mean step by account, of the rank that ends it or of the critical path."""
    if source == RANK:
        return result.breakdown
    accounts = result.path_accounts()
    length_s = sum(accounts.values())
    if length_s == result.step_time_s:
        return accounts
    return {account: value * result.step_time_s / length_s for account, value in accounts.items()}


def waterfall(reference: Predicted, other: Predicted, source: str = RANK) -> Waterfall:
    """Return the accounts in which the step times of two results differ."""
    before, after = (_ticks(result, accounts_of(result, source)) for result in (reference, other))
    causes = [
        Cause(account, before.get(account, 0), after.get(account, 0)) for account in dict.fromkeys([*before, *after])
    ]
    differing = sorted((cause for cause in causes if cause.ticks), key=lambda cause: (-abs(cause.ticks), cause.account))
    return Waterfall(sum(before.values()), sum(after.values()), tuple(differing))


def _ticks(result: Predicted, accounts: Mapping[str, float]) -> dict[str, int]:
    counts = {account: round(value * TICKS_PER_SECOND) for account, value in accounts.items()}
    largest = max(counts, key=lambda account: counts[account])
    counts[largest] += round(result.step_time_s * TICKS_PER_SECOND) - sum(counts.values())
    return counts
