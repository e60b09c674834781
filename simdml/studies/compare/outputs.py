"""What two results say, side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simdml.results.saved import Predicted
from simdml.units import format_bytes, format_count, format_flops, format_percent, format_time


@dataclass(frozen=True, slots=True)
class Output:
    """A number of a result: its name in words and in data, with the unit, and how it is written."""

    title: str
    key: str
    value: Callable[[Predicted], float | None]
    show: Callable[[float], str]


@dataclass(frozen=True, slots=True)
class OutputChange:
    """An output of both results; None where a result has none."""

    output: Output
    before: float | None
    after: float | None

    @property
    def ratio(self) -> float | None:
        """After over before, if both are there."""
        return self.after / self.before if self.before and self.after is not None else None


def _fullest(result: Predicted) -> float | None:
    return max((estimate.total for estimate in result.memory), default=None)


OUTPUTS = (
    Output("GPUs", "num_gpus", lambda result: result.num_gpus, format_count),
    Output("samples a step", "samples_per_step", lambda result: result.samples_per_step, format_count),
    Output("step time", "step_time_s", lambda result: result.step_time_s, format_time),
    Output("samples/s", "samples_per_s", lambda result: result.samples_per_s, format_count),
    Output("tokens/s", "tokens_per_s", lambda result: result.tokens_per_s, format_count),
    Output("samples/s a GPU", "samples_per_s_per_gpu", lambda r: r.samples_per_s / r.num_gpus, format_count),
    Output("model FLOP/s a GPU", "model_flops_per_s_per_gpu", lambda r: r.model_flops_per_s_per_gpu, format_flops),
    Output("MFU", "mfu", lambda result: result.mfu, lambda mfu: format_percent(round(mfu, 4))),
    Output("peak memory", "peak_memory_bytes", _fullest, format_bytes),
)


def output_changes(reference: Predicted, other: Predicted) -> tuple[OutputChange, ...]:
    """Return every output that one of the results has."""
    every = [OutputChange(output, output.value(reference), output.value(other)) for output in OUTPUTS]
    return tuple(change for change in every if change.before is not None or change.after is not None)
