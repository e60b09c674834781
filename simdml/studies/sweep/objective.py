"""Which point of a sweep is the best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from simdml.studies.sweep.outcome import Outcome
from simdml.studies.sweep.sweep import Row
from simdml.units import format_count, format_percent, format_time


@dataclass(frozen=True, slots=True)
class Objective:
    """What makes a point better: more of ``value``; ``show`` writes it for people."""

    name: str
    value: Callable[[Outcome], float]
    show: Callable[[Outcome], str]

    def best(self, rows: Iterable[Row]) -> Row | None:
        """Return the best row that has numbers, the first among equals; None if there is none."""
        return next((row for row in self.ranked(rows) if row.outcome.ok), None)

    def ranked(self, rows: Iterable[Row]) -> list[Row]:
        """Return the rows from best to worst, failures last."""
        return sorted(rows, key=lambda row: (not row.outcome.ok, self._cost(row.outcome), row.point.number))

    def better(self, row: Row, than: Row | None) -> bool:
        """Whether ``row`` has numbers that beat those of ``than``."""
        return row.outcome.ok and (than is None or self.ranked((row, than))[0] is row)

    def _cost(self, outcome: Outcome) -> float:
        return -self.value(outcome) if outcome.ok else 0.0


def _number(outcome: Outcome, name: str) -> float:
    return float(outcome.numbers[name] or 0.0)


OBJECTIVES: Mapping[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective(
            "throughput",
            lambda outcome: _number(outcome, "samples_per_s"),
            lambda outcome: f"{format_count(_number(outcome, 'samples_per_s'))} samples/s",
        ),
        Objective(
            "step_time",
            lambda outcome: -_number(outcome, "step_time_s"),
            lambda outcome: f"{format_time(_number(outcome, 'step_time_s'))} a step",
        ),
        Objective(
            "throughput_per_gpu",
            lambda outcome: _number(outcome, "samples_per_s") / _number(outcome, "num_gpus"),
            lambda outcome: (
                f"{format_count(_number(outcome, 'samples_per_s') / _number(outcome, 'num_gpus'))} samples/s a GPU"
            ),
        ),
        Objective(
            "mfu",
            lambda outcome: _number(outcome, "mfu"),
            lambda outcome: f"{format_percent(round(_number(outcome, 'mfu'), 4))} MFU",
        ),
    )
}
"""By name, as ``--best`` takes them; the first is the default."""
