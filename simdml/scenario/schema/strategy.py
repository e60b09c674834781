"""The ``strategy`` section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from simdml.documents.quantities import Bandwidth, Count, CountOrZero, DocumentModel, SecondsOrZero
from simdml.scenario.presets import PRESETS
from simdml.scenario.schema.data_parallel import DataParallelSpec
from simdml.scenario.schema.names import offering
from simdml.strategies.data_parallel.kinds import KINDS
from simdml.strategies.schedules import SCHEDULES

STRATEGY_NAMES = (*KINDS, *SCHEDULES, "layer_placement", "parameter_server")
StrategyName = Annotated[str, Field(json_schema_extra=offering(STRATEGY_NAMES))]
PresetName = Annotated[str, Field(json_schema_extra=offering(PRESETS))]
ScheduleName = Annotated[str, Field(json_schema_extra=offering(SCHEDULES))]


class MeshSpec(DocumentModel):
    """Degrees of parallelism; rank order is Megatron-LM's, tp fastest and pp slowest."""

    tp: Count = 1
    """Tensor-parallel degree."""
    pp: Count = 1
    """Pipeline stages."""
    dp: Count | None = None
    """Data-parallel replicas; what tp and pp leave by default."""
    dp_shard: Count | None = None
    """Ranks that FSDP shards over; all replicas by default, those of a node for hsdp."""
    dp_replicate: Count | None = None
    """Groups of FSDP shards that replicate each other; what dp_shard leaves by default."""


class PipelineSpec(DocumentModel):
    """How the model is cut into stages and in which order micro-batches pass."""

    schedule: ScheduleName = "1f1b"
    """gpipe, 1f1b (Megatron-LM's default) or interleaved_1f1b."""
    chunks: Count | None = None
    """Pieces of the model on each stage; 1 by default, 2 for interleaved_1f1b."""
    microbatch: Count | None = None
    """Samples of a micro-batch; the same as training.microbatch."""
    overlap_p2p: bool | None = None
    """Whether a stage goes on while what it sent is on its way; not for 1f1b (Megatron-LM), else yes."""
    scatter_gather: bool = True
    """Whether tensor-parallel ranks send a part each and gather it again; yes in Megatron-LM (SC21, section 4.1)."""
    balance: Literal["blocks", "flops"] | tuple[CountOrZero, ...] = "blocks"
    """Equal numbers of blocks (Megatron-LM), equal FLOPs, or the block each stage begins with."""


class ParameterServerSpec(DocumentModel):
    """Parameters sharded over servers, which sum gradients and update."""

    preset: PresetName | None = None
    """A named system, whose settings the other keys change."""
    servers: Count | None = None
    """Shards, one a machine; by default every server node, or every worker node if colocated."""
    location: Literal["dedicated", "colocated"] | None = None
    """On the cluster's server nodes, or beside workers from node 0 on; dedicated where there are server nodes."""
    consistency: Literal["bsp", "asynchronous"] = "bsp"
    """Whether a step waits for every worker's gradients (tf_cnn_benchmarks, MXNet dist_sync) or for none."""
    placement: Literal["round_robin", "greedy_by_bytes", "sharded"] = "round_robin"
    """Whole tensors in turn (TensorFlow's replica_device_setter), to the least loaded, or every tensor cut."""
    local_aggregation: bool = False
    """Whether the GPUs of a node sum their gradients first and act as one worker (MXNet's dist_device_sync)."""
    overlap: bool = True
    """Whether gradients leave while backward goes on; yes in MXNet, no in TensorFlow 1 on GPUs."""
    per_message: SecondsOrZero = 0.0
    """Fixed cost of one push or pull."""
    connection: Bandwidth | None = None
    """The most one worker's connection to one server carries; the links' own rate by default."""
    server_rate: Bandwidth = 10e9
    """Bytes a server reads and writes each second when it sums and updates; an assumption."""
    server_per_message: SecondsOrZero = 0.0
    """Fixed cost of a message on the server."""


class LayerPlacementSpec(DocumentModel):
    """One model over several GPUs, layer after layer, without micro-batches: one GPU works at a time."""

    devices: Count | None = None
    """GPUs a model is spread over; every GPU of the job, or as many as stages, by default."""
    stages: tuple[CountOrZero, ...] | None = Field(default=None, min_length=1)
    """The block each GPU begins with; equal FLOPs, or equal numbers of repeated blocks, by default."""


class StrategySpec(DocumentModel):
    """Parallelism as a mesh of degrees, or a parameter server, or layers placed on devices."""

    mesh: MeshSpec | None = None
    """Degrees of tensor, pipeline and data parallelism."""
    pipeline: PipelineSpec | None = None
    """The pipeline, where mesh.pp is more than 1."""
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


_ALONE = {
    "parameter_server": ("mesh", "pipeline", "data_parallel", "layer_placement"),
    "layer_placement": ("mesh", "pipeline"),
}
