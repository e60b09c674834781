"""The ``plan`` section: what ``simdml plan`` may choose, what has to be met, and what is best."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from simdml.documents.quantities import Count, DocumentModel, Money, PercentOrZero, Power, Seconds
from simdml.scenario.schema.data_parallel import KindName
from simdml.scenario.schema.strategy import ScheduleName

Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Counts = tuple[Count, ...]
Recompute = Literal["none", "selective", "full"]


class LayoutsSpec(DocumentModel):
    """What layouts are made of; whatever is left out takes every value that is legal."""

    tp: Counts | None = None
    """Tensor-parallel degrees; every divisor of heads, KV heads and MLP columns by default."""
    cp: Counts | None = None
    """Context-parallel degrees; by default those that leave a rank at least 1,024 tokens of a sequence."""
    ep: Counts | None = None
    """Expert-parallel degrees; every divisor of the experts by default."""
    pp: Counts | None = None
    """Pipeline stages; every number that the model can be cut into by default."""
    sharding: tuple[KindName, ...] | None = None
    """Who keeps what of the training state; ddp, distributed_optimizer, zero1, zero2, zero3 and fsdp2 by default.

    Each with the kernels of its own system, unless training.kernels says which.
    """
    schedules: tuple[ScheduleName, ...] | None = None
    """Pipeline schedules; by default those that flush, without gpipe and looped_bfs, which only keep more."""
    chunks: Counts | None = None
    """Chunks of schedules that have any number; every one up to 8 that the model can be cut into by default."""
    microbatch: Counts | None = None
    """Samples of a micro-batch; training.microbatch if it is given, else every divisor of a replica's samples."""
    recompute: tuple[Recompute, ...] | None = None
    """What is computed again; training.recompute if it is given, else none, selective and full."""
    sequence_parallel: tuple[bool, ...] | None = None
    """Whether tensor-parallel ranks divide norms over the sequence; both by default."""


class PlanSpec(DocumentModel):
    """What may be chosen, what has to be met, and what is best."""

    layouts: Literal["all"] | LayoutsSpec = "all"
    """How the model may be laid out on the GPUs."""
    strategies: Annotated[tuple[Any, ...], Field(min_length=1)] | None = None
    """Strategies to choose from instead, each as the section of that name."""
    clusters: Annotated[tuple[str | dict[str, Any], ...], Field(min_length=1)] | None = None
    """Clusters to choose from, each as the section cluster; that of the scenario by default."""
    nodes: Count | Annotated[tuple[Count, ...], Field(min_length=1)] | str | None = None
    """Numbers of nodes: one, a list, 16 .. 256 (doubling), or 16 .. 64 step 16; those of the cluster by default."""
    finish_within: Seconds | None = None
    """How long training to the target may take."""
    finish_by: Day | None = None
    """The day by which it has to be over, having begun on the day start."""
    start: Day | None = None
    """The day training begins; today by default."""
    budget: Money | None = None
    """What training to the target may cost."""
    power: Power | None = None
    """What the cluster may draw, on average over a step."""
    minimise: Literal["time", "cost", "energy", "gpus"] | None = None
    """What is best: time by default; cost with a choice of clusters and prices."""
    gap: PercentOrZero = 0.0
    """How much better an unsimulated candidate might be when the search ends; nothing by default."""

    @model_validator(mode="after")
    def _fits_together(self) -> PlanSpec:
        if self.finish_within is not None and self.finish_by is not None:
            raise ValueError("finish_within and finish_by say the same: keep one of the two")
        if self.start is not None and self.finish_by is None:
            raise ValueError("start is for finish_by")
        if self.strategies is not None and self.layouts != "all":
            raise ValueError("a plan has layouts or strategies to choose from, not both")
        return self
