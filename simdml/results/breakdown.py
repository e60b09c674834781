"""Where the step goes on every class of equal ranks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from simdml.engine.simulator import Recording
from simdml.results.accounting import Meanings, account


@dataclass(frozen=True, slots=True)
class RankBreakdown:
    """Seconds of one step by account on a class of ``num_ranks`` equal ranks; they add up to the step time."""

    rank_class: str
    representative: int
    num_ranks: int
    seconds: Mapping[str, float]


def rank_breakdowns(recording: Recording) -> tuple[RankBreakdown, ...]:
    """Return the breakdown of every rank class, the one whose rank ends the step first."""
    execution = recording.execution
    meanings = Meanings(execution)
    members = Counter(execution.partition.rank_class.tolist())
    return tuple(
        RankBreakdown(
            rank_class=execution.program.classes[execution.ranks[position].program_class].name,
            representative=execution.ranks[position].rank,
            num_ranks=members[position],
            seconds=_accounts(recording, position, meanings),
        )
        for position in _latest_first(recording)
    )


def last_accounts(recording: Recording) -> dict[str, float]:
    """Return seconds by account of the first of :func:`rank_breakdowns` without the others."""
    return _accounts(recording, _latest_first(recording)[0], Meanings(recording.execution))


def _latest_first(recording: Recording) -> list[int]:
    ends = [times[-1] for times in recording.step_ends]
    return sorted(range(len(ends)), key=lambda position: (-ends[position], position))


def _accounts(recording: Recording, position: int, meanings: Meanings) -> dict[str, float]:
    """Return the accounts of the rank's own last step, all of whose operations have ended.

    In a periodic run that step is as long as the job's; otherwise its accounts are scaled to the mean step.
    """
    begin, end = recording.own_window(position)
    accounts = account(recording.execution.ranks[position], meanings, begin, end)
    if end - begin != recording.step_time_s:
        scale = recording.step_time_s / (end - begin)
        accounts = {name: seconds * scale for name, seconds in accounts.items()}
    return dict(sorted(accounts.items(), key=lambda item: (-item[1], item[0])))
