"""What two runs of one job both remember of their operations: only the latest steps are kept, and one may be ahead."""

from __future__ import annotations


def entries(recording):
    """Ready, start and end of every operation that took time, by rank class and stream."""
    return {
        (rank.rank, stream.name): [
            (entry.operation, entry.ready, entry.start, entry.end)
            for entry in stream.entries
            if entry.end > entry.ready
        ]
        for rank in recording.execution.ranks
        for stream in rank.streams
    }


def assert_same_entries(recording, oracle):
    """Every stream did the same at the same times, from when both had any entries to when the first of them ends."""
    expected = entries(oracle)
    for track, found in entries(recording).items():
        mine, others = _both_remember(found, expected[track])
        shared = min(len(mine), len(others))
        assert shared > 0 or not others
        assert mine[:shared] == others[:shared]


def _both_remember(one, other):
    since = max((each[0][1] for each in (one, other) if each), default=0.0)
    return [entry for entry in one if entry[1] >= since], [entry for entry in other if entry[1] >= since]
