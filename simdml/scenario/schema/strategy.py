"""The ``strategy`` section."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from simdml.documents.quantities import Count, CountOrZero, DocumentModel
from simdml.documents.sections import section
from simdml.scenario.schema.names import offering
from simdml.strategies.data_parallel.kinds import KINDS
from simdml.strategies.parameter_server.systems.catalog import SYSTEMS
from simdml.strategies.schedules import SCHEDULES

if TYPE_CHECKING:
    from simdml.scenario.schema.data_parallel import DataParallelSpec
    from simdml.scenario.schema.model_parallel import ContextParallelSpec, ExpertParallelSpec, TensorParallelSpec
    from simdml.scenario.schema.parameter_server import ParameterServerSpec
else:
    DataParallelSpec = section("simdml.scenario.schema.data_parallel:DataParallelSpec")
    ContextParallelSpec = section("simdml.scenario.schema.model_parallel:ContextParallelSpec")
    ExpertParallelSpec = section("simdml.scenario.schema.model_parallel:ExpertParallelSpec")
    TensorParallelSpec = section("simdml.scenario.schema.model_parallel:TensorParallelSpec")
    ParameterServerSpec = section("simdml.scenario.schema.parameter_server:ParameterServerSpec")

STRATEGY_NAMES = (*KINDS, *SCHEDULES, "layer_placement", "parameter_server", *SYSTEMS)
StrategyName = Annotated[str, Field(json_schema_extra=offering(STRATEGY_NAMES))]
ScheduleName = Annotated[str, Field(json_schema_extra=offering(SCHEDULES))]


class MeshSpec(DocumentModel):
    """Degrees of parallelism."""

    tp: Count = 1
    """Tensor-parallel degree."""
    cp: Count = 1
    """Context-parallel degree: ranks that share every sequence."""
    ep: Count = 1
    """Expert-parallel degree: ranks among the data-parallel ones, and those of cp, that share the experts."""
    pp: Count = 1
    """Pipeline stages."""
    dp: Count | None = None
    """Data-parallel replicas, ep among them; what tp, cp and pp leave by default."""
    dp_shard: Count | None = None
    """Ranks that FSDP shards over; all replicas by default, those of a node for hsdp."""
    dp_replicate: Count | None = None
    """Groups of FSDP shards that replicate each other; what dp_shard leaves by default."""
    order: tuple[Literal["tp", "cp", "ep", "pp", "dp", "dp_shard", "dp_replicate"], ...] | None = None
    """Axes from the fastest-varying to the slowest; tp, cp, dp, pp in Megatron-LM, tp, pp, dp for Llama 3.

    dp stands for those of ep, dp_shard and dp_replicate that are not named.
    """


class PipelineSpec(DocumentModel):
    """How the model is cut into stages and in which order micro-batches pass."""

    schedule: ScheduleName = "1f1b"
    """A schedule by name, by default 1f1b as in Megatron-LM; or a file, ./mine.py (which is run) or ./mine.csv."""
    chunks: Count | None = None
    """Pieces of the model on each stage; what the schedule has by default, 2 where it can have any number."""
    microbatch: Count | None = None
    """Samples of a micro-batch; the same as training.microbatch."""
    overlap_p2p: bool | None = None
    """Whether a stage goes on while what it sent is on its way; not for 1f1b (Megatron-LM), else yes."""
    scatter_gather: bool = True
    """Whether tensor-parallel ranks send a part each and gather it again; yes in Megatron-LM (SC21, section 4.1)."""
    balance: Literal["blocks", "blocks_and_ends", "flops", "time", "memory"] | tuple[CountOrZero, ...] = "blocks"
    """Equal numbers of blocks (Megatron-LM), with embedding and loss (Llama 3), equal FLOPs, time or memory, or a list.

    The list has the block each stage begins with.
    """


class LayerPlacementSpec(DocumentModel):
    """One model over several GPUs, layer after layer, without micro-batches: one GPU works at a time."""

    devices: Count | None = None
    """GPUs a model is spread over; every GPU of the job, or as many as stages, by default."""
    stages: tuple[CountOrZero, ...] | None = Field(default=None, min_length=1)
    """The block each GPU begins with; by balance if it is left out."""
    balance: Literal["flops", "time", "memory"] = "flops"
    """What the GPUs get equal parts of, as far as blocks allow."""


class StrategySpec(DocumentModel):
    """Parallelism as a mesh of degrees, or a parameter server, or layers placed on devices."""

    mesh: MeshSpec | None = None
    """Degrees of tensor, pipeline and data parallelism."""
    pipeline: PipelineSpec | None = None
    """The pipeline, where mesh.pp is more than 1."""
    tensor_parallel: TensorParallelSpec | None = None
    """How tensor-parallel ranks share what they compute, where mesh.tp is more than 1."""
    context_parallel: ContextParallelSpec | None = None
    """How attention reaches tokens of other ranks, where mesh.cp is more than 1."""
    expert_parallel: ExpertParallelSpec | None = None
    """How tokens are dealt to experts."""
    data_parallel: DataParallelSpec | None = None
    """The data-parallel part."""
    parameter_server: ParameterServerSpec | None = None
    """A sharded parameter server instead."""
    layer_placement: LayerPlacementSpec | None = None
    """Naive model parallelism instead of mesh and pipeline."""

    @model_validator(mode="after")
    def _fits_together(self) -> StrategySpec:
        given = [key for key in type(self).model_fields if getattr(self, key) is not None]
        if not given:
            raise ValueError("a strategy says at least one thing, for example strategy: ddp")
        for alone, others in _ALONE.items():
            clash = [key for key in given if key in others]
            if alone in given and clash:
                raise ValueError(f"{alone} does not go with {' and '.join(clash)}")
        return self


_SPREAD = ("tensor_parallel", "context_parallel", "expert_parallel")
_ALONE = {
    "parameter_server": ("mesh", "pipeline", *_SPREAD, "data_parallel", "layer_placement"),
    "layer_placement": ("mesh", "pipeline", *_SPREAD),
}


def excluded_by(given: Container[str]) -> set[str]:
    """Return the keys of a strategy that do not go with those ``given``."""
    others = {other for alone, clashing in _ALONE.items() if alone in given for other in clashing}
    return others | {alone for alone, clashing in _ALONE.items() if any(other in given for other in clashing)}
