"""What a simulation says: how long a step takes, how much it trains, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from simdml.costs.memory import MemoryEstimate
from simdml.engine.simulator import Recording
from simdml.program.instructions import INPUT
from simdml.results.breakdown import RankBreakdown, last_accounts, rank_breakdowns
from simdml.results.critical_path import PathSegment, critical_path
from simdml.results.evaluation import Evaluation
from simdml.results.input import InputActivity, input_activity
from simdml.results.links import LinkLoad, link_loads
from simdml.results.uncertainty import Basis, Uncertainty, uncertainty
from simdml.strategies.input_pipeline import InputPlan

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from simdml.results.servers import ServerActivity


@dataclass(frozen=True)
class Result:
    """A predicted training step.

    Rates are for the whole job. ``model_flops_per_s_per_gpu`` counts forward and backward of matmuls, convolutions and
    attention; ``hardware_flops_per_s_per_gpu`` adds recomputation; ``mfu`` is the former over the dense peak in the
    training precision, the mean one of several kinds of device. ``half_width_s`` is that of the 95 % confidence
    interval of the step time where runs are stochastic or asynchronous, infinite if too short to tell, else None.
    ``periodic`` says that further steps would repeat those that were simulated exactly. ``input_plan`` is how batches
    come to a rank, where that is modelled. What explains the step (breakdowns, critical path, links, servers) and how
    sure it is come from the recording when they are first asked for; ``basis_of`` says what the latter rests on.
    """

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
    periodic: bool
    steps_simulated: int
    inputs: Mapping[str, Any]
    notes: tuple[str, ...]
    recording: Recording
    input_plan: InputPlan | None = None
    evaluation: Evaluation | None = None
    basis_of: Callable[[Recording], Basis] | None = None

    @cached_property
    def basis(self) -> Basis | None:
        """What the uncertainty of the step time comes from; None where what the costs rest on is not known."""
        return None if self.basis_of is None else self.basis_of(self.recording)

    @cached_property
    def uncertainty(self) -> Uncertainty | None:
        """How sure the step time is: a median, and intervals; None without a basis."""
        return None if self.basis is None else uncertainty(self.step_time_s, self.basis)

    @cached_property
    def breakdowns(self) -> tuple[RankBreakdown, ...]:
        """Seconds by account on every rank class; the first is the one whose rank ends the step."""
        return rank_breakdowns(self.recording)

    @cached_property
    def breakdown(self) -> Mapping[str, float]:
        """Seconds by account on the rank that ends the step."""
        return last_accounts(self.recording)

    @cached_property
    def critical_path(self) -> tuple[PathSegment, ...]:
        """The chain of operations that fills the step."""
        return tuple(critical_path(self.recording, *self.recording.window))

    @cached_property
    def links(self) -> tuple[LinkLoad, ...]:
        """The load of every link class that is used, busiest first."""
        return tuple(link_loads(self.recording.execution, self.step_time_s))

    @cached_property
    def servers(self) -> ServerActivity | None:
        """What parameter servers did, if there are any."""
        if not self.recording.execution.shards:
            return None
        from simdml.results.servers import server_activity

        return server_activity(self.recording)

    @property
    def samples_per_s_with_evaluation(self) -> float:
        """Samples trained a second, the time of evaluations included."""
        share = 0.0 if self.evaluation is None else self.evaluation.share(self.step_time_s)
        return self.samples_per_s * (1 - share)

    @cached_property
    def input(self) -> InputActivity | None:
        """How the step was fed with training data, if that is modelled."""
        if self.input_plan is None:
            return None
        waits = max(each.seconds.get(INPUT, 0.0) for each in self.breakdowns)
        return input_activity(self.recording.execution, self.input_plan, self.step_time_s, waits)

    def path_accounts(self) -> dict[str, float]:
        """Return seconds on the critical path by account.

        They add up to the step time; of an asynchronous job, to the last step of the worker that ended last.
        """
        totals: dict[str, float] = {}
        for segment in self.critical_path:
            totals[segment.account] = totals.get(segment.account, 0.0) + segment.seconds
        return totals

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the recording as plain data."""
        from simdml.results.plain import result_to_dict

        return result_to_dict(self)

    def to_frame(self) -> pd.DataFrame:
        """Return one row a rank class: seconds by account, memory by part."""
        from simdml.results.frames import breakdown_frame

        return breakdown_frame(self)

    def plot(self) -> Figure:
        """Return a figure: where the step goes on every rank class, and the timeline of a step."""
        from simdml.reporting.figures import result_figure

        return result_figure(self)

    def _repr_html_(self) -> str:
        from simdml.reporting.html import result_html

        return result_html(self)
