"""Runs that differ in layout alone: does simdml rank them as they were measured, and what would its choice cost?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from simdml.validation.runs.reading import Row
from simdml.validation.runs.replay import Replayed

_SAME: Final = (
    *("gpu", "num_gpus", "framework", "year", "model", "layers", "hidden", "heads", "kv_heads", "ffn", "vocab"),
    *("seq_len", "global_batch_seqs", "dtype"),
)
FEWEST: Final = 3
"""Layouts of a group at least: between two there is nothing to rank."""


@dataclass(frozen=True, slots=True)
class LayoutGroup:
    """Runs of one model on the same GPUs with the same batch, in several layouts.

    ``regret`` is how much slower the layout that simdml predicts fastest was measured than the fastest measured one;
    ``rank_correlation`` is Spearman's, of predicted and measured times.
    """

    members: tuple[Replayed, ...]
    regret: float
    rank_correlation: float

    @property
    def name(self) -> str:
        """What they have in common."""
        row = self.members[0].row
        return (
            f"{row.text('model')}, {row.text('num_gpus')} GPUs, batch {row.text('global_batch_seqs')}, "
            f"{row.text('seq_len')} tokens"
        )

    @property
    def chosen(self) -> Replayed:
        """The layout that simdml predicts fastest."""
        return min(self.members, key=lambda each: each.replay.predicted_s or 0.0)


def layout_groups(replayed: Iterable[Replayed]) -> list[LayoutGroup]:
    """Return the groups with at least ``FEWEST`` runs that were measured and predicted, the largest regret first."""
    groups: dict[tuple[str, ...], list[Replayed]] = defaultdict(list)
    for each in replayed:
        if each.row.family == "llm" and each.error is not None:
            groups[layout_key(each.row)].append(each)
    found = [_group(members) for members in groups.values() if len(members) >= FEWEST]
    return sorted(found, key=lambda group: (-group.regret, group.name))


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the rank correlation of two sequences, ties at their mean rank (Spearman 1904); 1 where all are equal."""
    ranks = [_ranks(np.asarray(values, dtype=float)) for values in (first, second)]
    spread = [float(each.std()) for each in ranks]
    if min(spread) == 0.0:
        return 1.0 if max(spread) == 0.0 else 0.0
    return float(((ranks[0] - ranks[0].mean()) * (ranks[1] - ranks[1].mean())).mean() / (spread[0] * spread[1]))


def layout_key(row: Row) -> tuple[str, ...]:
    """Return what runs of one group have in common."""
    return (row.source, *map(row.text, _SAME))


def _group(members: Sequence[Replayed]) -> LayoutGroup:
    measured = [each.row.measured_s or 0.0 for each in members]
    predicted = [each.replay.predicted_s or 0.0 for each in members]
    chosen = measured[min(range(len(members)), key=predicted.__getitem__)]
    return LayoutGroup(tuple(members), chosen / min(measured) - 1, spearman(measured, predicted))


def _ranks(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle = last - (counts - 1) / 2
    return np.asarray(middle[inverse], dtype=float)
