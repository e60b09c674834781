"""A Result as pandas tables. Columns carry their units: ``_s`` seconds, ``_bytes``, ``_bytes_per_s``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simdml.costs.memory import MemoryEstimate
from simdml.results.breakdown import RankBreakdown
from simdml.results.plain import MEMORY_PARTS
from simdml.results.result import Result

if TYPE_CHECKING:
    import pandas as pd


def breakdown_frame(result: Result) -> pd.DataFrame:
    """Return one row a rank class: seconds of a step by account, bytes of device memory by part.

    The first row is the class whose rank ends the step. The ``_s`` columns of a row add up to the step time.
    """
    import pandas as pd

    accounts = list(dict.fromkeys(name for breakdown in result.breakdowns for name in breakdown.seconds))
    rows = []
    for breakdown in result.breakdowns:
        seconds = {_column(name): breakdown.seconds.get(name, 0.0) for name in accounts}
        rows.append({**_class_columns(breakdown), **seconds, **_memory_columns(memory_of(result, breakdown))})
    return pd.DataFrame(rows)


def memory_frame(result: Result) -> pd.DataFrame:
    """Return one row a rank class with its peak device memory by part, in bytes."""
    import pandas as pd

    return pd.DataFrame([{"rank_class": each.rank_class, **_memory_columns(each)} for each in result.memory])


def links_frame(result: Result) -> pd.DataFrame:
    """Return one row a class of equal links that carry something, busiest first; ``utilisation`` is a fraction."""
    import pandas as pd

    columns = ["name", "kind", "bytes_per_step", "capacity_bytes_per_s", "utilisation"]
    return pd.DataFrame([[getattr(load, name) for name in columns] for load in result.links], columns=columns)


def path_frame(result: Result) -> pd.DataFrame:
    """Return one row a segment of the critical path, in time order; the step begins at 0 s."""
    import pandas as pd

    begin, _ = result.recording.window
    columns = ["rank", "track", "label", "account", "begin_s", "end_s", "length_s"]
    rows = [
        (s.rank, s.track, s.label, s.account, s.begin_s - begin, s.end_s - begin, s.seconds)
        for s in result.critical_path
    ]
    return pd.DataFrame(rows, columns=columns)


def memory_of(result: Result, breakdown: RankBreakdown) -> MemoryEstimate | None:
    """Return the memory of the ranks of ``breakdown``: that of their class, or the only estimate there is."""
    named = {estimate.rank_class: estimate for estimate in result.memory}
    only = result.memory[0] if len(result.memory) == 1 else None
    return named.get(breakdown.rank_class, only)


def _column(account: str) -> str:
    return f"{account.replace(' ', '_')}_s"


def _class_columns(breakdown: RankBreakdown) -> dict[str, object]:
    return {
        "rank_class": breakdown.rank_class,
        "representative_rank": breakdown.representative,
        "num_ranks": breakdown.num_ranks,
    }


def _memory_columns(estimate: MemoryEstimate | None) -> dict[str, float]:
    if estimate is None:
        return {}
    parts = {f"{part}_bytes": getattr(estimate, part) for part in MEMORY_PARTS}
    return {**parts, "total_bytes": estimate.total, "capacity_bytes": estimate.capacity}
