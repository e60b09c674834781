"""A result read back from its record: the numbers of a run, without the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simdml.costs.memory import MemoryEstimate
from simdml.results.breakdown import RankBreakdown
from simdml.results.evaluation import Evaluation
from simdml.results.input import InputActivity
from simdml.results.links import LinkLoad
from simdml.results.plain import MEMORY_PARTS
from simdml.results.result import Result
from simdml.results.uncertainty import Uncertainty


@dataclass(frozen=True, slots=True)
class SavedResult:
    """What a record keeps of a :class:`~simdml.results.result.Result`, under the same names."""

    name: str
    version: str
    num_gpus: int
    step_time_s: float
    half_width_s: float | None
    samples_per_step: int
    sample_unit: str
    samples_per_s: float
    tokens_per_s: float | None
    model_flops_per_s_per_gpu: float
    hardware_flops_per_s_per_gpu: float
    mfu: float
    memory: tuple[MemoryEstimate, ...]
    steps_simulated: int
    inputs: Mapping[str, Any]
    notes: tuple[str, ...]
    breakdowns: tuple[RankBreakdown, ...]
    path_s: Mapping[str, float]
    links: tuple[LinkLoad, ...]
    input: InputActivity | None
    evaluation: Evaluation | None
    uncertainty: Uncertainty | None
    record: Mapping[str, Any] = field(repr=False)

    @property
    def breakdown(self) -> Mapping[str, float]:
        """Seconds by account on the rank that ends the step."""
        return self.breakdowns[0].seconds

    @property
    def samples_per_s_with_evaluation(self) -> float:
        """Samples trained a second, the time of evaluations included."""
        share = 0.0 if self.evaluation is None else self.evaluation.share(self.step_time_s)
        return self.samples_per_s * (1 - share)

    def path_accounts(self) -> dict[str, float]:
        """Return seconds on the critical path by account."""
        return dict(self.path_s)

    def to_dict(self) -> dict[str, Any]:
        """Return the record it was read from."""
        return dict(self.record)


Predicted = Result | SavedResult
"""A result that was simulated here, or one read from its record."""
_SAME = (
    "name",
    "num_gpus",
    "step_time_s",
    "half_width_s",
    "samples_per_step",
    "sample_unit",
    "samples_per_s",
    "tokens_per_s",
    "model_flops_per_s_per_gpu",
    "hardware_flops_per_s_per_gpu",
    "mfu",
    "steps_simulated",
    "inputs",
)


def read_saved(data: Mapping[str, Any]) -> SavedResult:
    """Return the result that :func:`~simdml.results.plain.result_to_dict` wrote.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: ``data`` is something else.
    """
    return SavedResult(
        **{name: data[name] for name in _SAME},
        version=data["simdml_version"],
        memory=tuple(map(_memory, data["memory"])),
        notes=tuple(data["notes"]),
        breakdowns=tuple(map(_breakdown, data["breakdowns"])),
        path_s=data["critical_path"]["account_s"],
        links=tuple(LinkLoad(**load) for load in data["links"]),
        input=None if data.get("input") is None else InputActivity(**data["input"]),
        evaluation=_evaluation(data.get("evaluation")),
        uncertainty=None if data.get("uncertainty") is None else Uncertainty.from_plain(data["uncertainty"]),
        record=data,
    )


def _memory(data: Mapping[str, Any]) -> MemoryEstimate:
    parts = {part: float(data[f"{part}_bytes"]) for part in MEMORY_PARTS}
    return MemoryEstimate(rank_class=data["rank_class"], capacity=data["capacity_bytes"], **parts)


def _evaluation(data: Mapping[str, Any] | None) -> Evaluation | None:
    if data is None:
        return None
    return Evaluation(data["every_steps"], data["samples"], data["passes"], data["seconds"])


def _breakdown(data: Mapping[str, Any]) -> RankBreakdown:
    largest_first = dict(sorted(data["account_s"].items(), key=lambda item: (-item[1], item[0])))
    return RankBreakdown(data["rank_class"], data["representative_rank"], data["num_ranks"], largest_first)
