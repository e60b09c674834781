"""The ``strategy.data_parallel`` section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from simdml.documents.quantities import Bytes, Count, CountOrZero, DocumentModel, SecondsOrZero
from simdml.scenario.schema.names import offering
from simdml.strategies.data_parallel.kinds import KINDS
from simdml.strategies.data_parallel.mirrored import CrossDeviceOps
from simdml.strategies.data_parallel.multiworker import Implementation
from simdml.strategies.data_parallel.offload import Offload
from simdml.strategies.job import CommHook

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
    find_unused_parameters: bool | None = None
    """ddp: whether parameters without a gradient are looked for in every iteration; no by default."""
    static_graph: bool | None = None
    """ddp: whether the graph is the same in every iteration; no by default."""
    broadcast_buffers: bool | None = None
    """ddp: whether rank 0's buffers (batch norms' statistics) are sent to all before forward; yes by default."""
    comm_hook: CommHook | None = None
    """ddp: what replaces a bucket's all-reduce: halved or low-rank gradients; none by default."""
    powersgd_rank: Count | None = None
    """ddp: the rank PowerSGD approximates matrices with; 1 by default."""
    powersgd_min_compression_rate: PositiveFloat | None = None
    """ddp: matrices that PowerSGD makes less than so many times smaller stay as they are; 2 by default."""
    scheme: Literal["a", "b", "c"] | None = None
    """one_weird_trick: how examples move: all at once, in turns, or a part of everybody's; in turns (b) by default."""
    variable_batch: bool | None = None
    """one_weird_trick: whether fully connected layers are updated after every round; no by default."""
    period: Count | None = None
    """local_sgd: optimizer steps between two averages of the parameters; 4 by default."""
    post_local_gradient_allreduce: bool | None = None
    """local_sgd: whether gradients are averaged within a node in every step; yes by default."""
    cycle_time: SecondsOrZero | None = None
    """horovod: HOROVOD_CYCLE_TIME; 1 ms by default."""
    fusion_threshold: Bytes | None = None
    """horovod: HOROVOD_FUSION_THRESHOLD; 128 MiB by default."""
    compression: Literal["none", "fp16"] | None = None
    """horovod: hvd.Compression; none by default."""
    cross_device_ops: CrossDeviceOps | None = None
    """mirrored: NcclAllReduce (nccl, the default), or HierarchicalCopyAllReduce or ReductionToOneDevice."""
    num_packs: Count | None = None
    """mirrored: pieces that the concatenated gradients are cut into; 1 by default."""
    implementation: Implementation | None = None
    """multiworker_mirrored: NCCL (what AUTO is on GPUs), or the runtime's ring over gRPC."""
    bytes_per_pack: Bytes | None = None
    """multiworker_mirrored: gradients summed together; all by default."""
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
    overlap_grad_reduce: bool | None = None
    """distributed_optimizer: whether gradients are reduce-scattered during the last backward; no by default."""
    overlap_param_gather: bool | None = None
    """distributed_optimizer: whether parameters are all-gathered during the first forward; no by default."""
    ddp_bucket_size: Count | None = None
    """distributed_optimizer: parameters of a bucket; max(40 million, 1 million a replica) by default."""
    overlap_comm: bool | None = None
    """DeepSpeed: whether reductions overlap with backward; yes for zero3, no for zero1 and zero2."""
    reduce_scatter: bool | None = None
    """DeepSpeed: whether gradients go to their owners alone instead of being all-reduced; yes by default."""
    use_multi_rank_bucket_allreduce: bool | None = None
    """DeepSpeed: whether owners get their part by all-reduces of buckets; no here, see simdml explain zero1."""
    contiguous_gradients: bool | None = None
    """DeepSpeed: whether gradients are copied into a buffer of a bucket's size; yes by default."""
    reduce_bucket_size: Count | None = None
    """DeepSpeed: elements of gradients reduced together; 5e8 by default."""
    allgather_bucket_size: Count | None = None
    """DeepSpeed: elements of updated parameters gathered together; 5e8 by default."""
    stage3_prefetch_bucket_size: CountOrZero | None = None
    """DeepSpeed: elements gathered ahead at each module; 5e7 by default."""
    stage3_param_persistence_threshold: CountOrZero | None = None
    """DeepSpeed: parameters of at most so many elements stay whole; 1e5 by default."""
    stage3_max_live_parameters: CountOrZero | None = None
    """DeepSpeed: elements whole at once, above which nothing is gathered ahead; 1e9 by default."""
    stage3_max_reuse_distance: CountOrZero | None = None
    """DeepSpeed: parameters used again within so many elements are not released; 1e9 by default."""
    offload_optimizer: Offload | None = None
    """DeepSpeed: where the optimizer's state is and its step runs; on the GPU by default."""
    offload_param: Offload | None = None
    """DeepSpeed, zero3: where parts of parameters are; on the GPU by default."""
    cpu_offload: bool | None = None
    """FSDP: whether shards are in host memory and updated there; no by default."""
