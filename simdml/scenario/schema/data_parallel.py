"""The ``strategy.data_parallel`` section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from simdml.documents.quantities import Bytes, DocumentModel
from simdml.scenario.schema.names import offering
from simdml.strategies.data_parallel.kinds import KINDS

KindName = Annotated[str, Field(json_schema_extra=offering(KINDS))]


class DataParallelSpec(DocumentModel):
    """How replicas share their state and agree on gradients; which options a kind has, ``simdml explain KIND`` says."""

    kind: KindName = "ddp"
    """The system: ddp, fsdp1, fsdp2, hsdp, ..."""
    overlap: bool | None = None
    """Whether gradients are reduced while backward goes on; ddp: yes in PyTorch, no with a mesh (Megatron-LM)."""
    bucket_cap: Bytes | None = None
    """Size of a bucket; PyTorch's 1 MiB first and 25 MiB later by default."""
    first_iteration: bool | None = None
    """Whether the step is PyTorch's first, which reduces one bucket of everything; no by default."""
    gradient_as_bucket_view: bool | None = None
    """Whether gradients lie in the buckets, without copies; no in PyTorch, yes with a mesh (Megatron-LM)."""
    wrap: Literal["block", "every_block", "model"] | None = None
    """What FSDP gathers together: a block (the rest with the root), a block or either end, or the model."""
    sharding: Literal["full_shard", "shard_grad_op"] | None = None
    """FSDP1: whether units are freed between forward and backward (full_shard, the default) or kept."""
    reshard_after_forward: bool | None = None
    """FSDP2: whether groups are freed between forward and backward; by default all but the root, none in a pipeline."""
    backward_prefetch: Literal["pre", "post", "none"] | None = None
    """FSDP: when backward gathers the next unit: before this one's gradients (the default), after, or when needed."""
    limit_all_gathers: bool | None = None
    """FSDP1: whether at most two all-gathers are under way; yes by default."""
    no_sync: bool | None = None
    """Whether gradients are reduced after the last micro-batch alone; ddp: yes, FSDP: in a pipeline."""
