"""Tables of measured runs, replayed and scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean

from simdml.resources import find
from simdml.validation.runs.coverage import Coverage, coverage, coverage_by
from simdml.validation.runs.omitted import completed
from simdml.validation.runs.ranking import LayoutGroup, layout_groups
from simdml.validation.runs.reading import Row, Table, read_table
from simdml.validation.runs.replay import Progress, Replayed, replay_rows
from simdml.validation.runs.scores import (
    COLLECTIVE_SIZES,
    GROUPINGS,
    MemoryVerdicts,
    Score,
    collective_size,
    memory_error,
    memory_verdicts,
    score,
    scores_by,
)


@dataclass(frozen=True)
class RunsValidation:
    """Every row of ``tables`` with what became of it."""

    tables: tuple[Table, ...]
    rows: tuple[Replayed, ...]

    @cached_property
    def total(self) -> Score | None:
        """The score of all rows; None if none could be compared."""
        return score("all", self.rows)

    @cached_property
    def scores(self) -> Mapping[str, Sequence[Score]]:
        """Scores by grouping."""
        return {grouping: scores_by(grouping, self.rows) for grouping in GROUPINGS}

    @cached_property
    def covered(self) -> Coverage | None:
        """How many measured steps lie in the intervals of their predictions; None if none could be compared."""
        return coverage("all", self.rows)

    @cached_property
    def coverages(self) -> Mapping[str, Sequence[Coverage]]:
        """Coverages by grouping."""
        return {grouping: coverage_by(grouping, self.rows) for grouping in GROUPINGS}

    @cached_property
    def layouts(self) -> Sequence[LayoutGroup]:
        """Groups of runs that differ in layout alone."""
        return layout_groups(self.rows)

    @property
    def mean_regret(self) -> float | None:
        """Mean regret over the groups of layouts; None if there are none."""
        return fmean(group.regret for group in self.layouts) if self.layouts else None

    @property
    def mean_rank_correlation(self) -> float | None:
        """Mean rank correlation over the groups of layouts; None if there are none."""
        return fmean(group.rank_correlation for group in self.layouts) if self.layouts else None

    @cached_property
    def memory(self) -> MemoryVerdicts:
        """Whether runs fit, as measured and as predicted."""
        return memory_verdicts(self.rows)

    @cached_property
    def memory_total(self) -> Score | None:
        """The score of peak memory over all rows that state it; None if none do."""
        return score("all", self.rows, memory_error)

    @cached_property
    def memory_scores(self) -> Sequence[Score]:
        """Scores of peak memory by source."""
        return scores_by("source", self.rows, memory_error)

    @cached_property
    def collective_scores(self) -> Sequence[Score]:
        """Scores of collectives by size, those of 1 MiB and more first; empty if there are none."""
        sides: dict[str, list[Replayed]] = {name: [] for name in COLLECTIVE_SIZES}
        for each in self.rows:
            if each.row.family == "collective":
                sides[collective_size(each.row)].append(each)
        return [found for name, rows in sides.items() if (found := score(name, rows)) is not None]

    def worst(self, count: int) -> list[Replayed]:
        """Return the rows with the largest errors, the worst first."""
        found = [(abs(each.error), each) for each in self.rows if each.error is not None]
        return [each for _, each in sorted(found, key=lambda pair: -pair[0])[:count]]

    def neighbours(self, found: Replayed, count: int = 4) -> list[Replayed]:
        """Return rows of the same source and model that are nearest to ``found`` in GPUs and batch.

        Those that are known as well as it come first: compared ones beside a compared one.
        """
        row, compared = found.row, found.error is not None
        near = [
            each
            for each in self.rows
            if each.row is not row and each.row.source == row.source and each.row.text("model") == row.text("model")
        ]
        unlike = {id(each): (each.error is None) == compared for each in near}
        return sorted(near, key=lambda each: (unlike[id(each)], _distance(each.row, row)))[:count]


def bundled_tables() -> tuple[Path, ...]:
    """Return the tables of published runs that simdml brings with it (calibrate/runs)."""
    return tuple(find("calibrate", f"runs/{name}") for name in ("language_models", "classic"))


def validate_runs(
    paths: Sequence[Path],
    *,
    processes: int | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> RunsValidation:
    """Return the tables at ``paths`` replayed; raises DocumentError for one that cannot be read, OutputError."""
    tables = tuple(map(read_table, paths))
    rows = [completed(row) for each in tables for row in each.rows]
    return RunsValidation(tables, tuple(replay_rows(rows, processes=processes, folder=folder, progress=progress)))


def _distance(first: Row, second: Row) -> float:
    columns = ("num_gpus", "tp", "pp", "micro_batch", "batch_per_gpu", "seq_len", "size_bytes")
    return sum(abs((first.number(column) or 0) - (second.number(column) or 0)) for column in columns)
