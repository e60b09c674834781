"""PyTorch fully_shard (FSDP2), alone and, with shards in a node and replicas across nodes, as HSDP.

The sources are torch/distributed/fsdp/_fully_shard/_fsdp_param_group.py and _fsdp_collectives.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from simdml.strategies.data_parallel.fsdp import FsdpReplica, Prefetch
from simdml.strategies.data_parallel.gathering import CopiedOut
from simdml.strategies.data_parallel.kind import ALL, PYTORCH, SHARDED, Kind
from simdml.strategies.data_parallel.offload import ToHost
from simdml.strategies.data_parallel.reduction import CopiedIn
from simdml.strategies.data_parallel.replica import CommunicationStream
from simdml.strategies.data_parallel.units import Wrap
from simdml.strategies.job import Job
from simdml.strategies.stage_code import StageCode
from simdml.strategies.strategy import Strategy


@dataclass(frozen=True, slots=True)
class Fsdp2Plan:
    """fully_shard's arguments, with its defaults.

    ``reshard_after_forward`` None frees every group but the root after forward and, in a pipeline, none (torchtitan's
    default policy).
    """

    reshard_after_forward: bool | None = None
    wrap: Wrap = "block"
    backward_prefetch: Prefetch = "pre"
    no_sync: bool | None = None
    cpu_offload: bool = False

    @property
    def kind(self) -> str:
        """The strategy's name."""
        return "fsdp2"

    def reshards(self, *, is_root: bool, pipelined: bool) -> bool:
        """Say whether a group is freed after forward and gathered again for backward."""
        return (not is_root and not pipelined) if self.reshard_after_forward is None else self.reshard_after_forward


@dataclass(frozen=True, slots=True)
class HsdpPlan(Fsdp2Plan):
    """fully_shard on a mesh of dp_shard in a node and dp_replicate across nodes."""

    @property
    def kind(self) -> str:
        """The strategy's name."""
        return "hsdp"


class Fsdp2Replica(FsdpReplica):
    """A rank that copies parameters out of what was gathered, and gradients into what is reduced."""

    def __init__(self, job: Job, code: Sequence[StageCode], plan: Fsdp2Plan) -> None:
        shards, replicas = CommunicationStream("shards"), CommunicationStream("replicas")
        gathering = CopiedOut(job, shards, from_host=plan.cpu_offload)
        reduction = CopiedIn(job, shards, replicas, ToHost() if plan.cpu_offload else None)
        super().__init__(job, code, plan, gathering, reduction)


_MODELS = (
    "A group a block, embedding and head in the root group, which stays whole between forward and backward.",
    "All-gather before forward and before backward, reduce-scatter after backward, on one communicator in the order "
    "they are issued; in backward one group is gathered ahead.",
    "Copies between shards, gathered buffers and parameters, and of gradients into the one input buffer that a "
    "reduce-scatter may have.",
    "Mixed precision (fp32 shards, training.precision as param_dtype, training.gradients as reduce_dtype), gradient "
    "accumulation with a reduction for each micro-batch or, under no_sync, one.",
    "cpu_offload: shards come from the host before they are gathered, reduced gradients go there, and so is Adam.",
    "With cp, shards lie on the dp_shard x cp ranks; with ep, a block's experts are a group of their own, in shards on "
    "the ranks that hold the same ones, prefetched with their block and reduced after it (torchtitan).",
    "In a pipeline parameters stay whole from the first forward to the last backward of a stage and gradients are "
    "reduced once, after it, as torch.distributed.pipelining does.",
)
_SOURCES = (
    "torch/distributed/fsdp/_fully_shard/_fsdp_param_group.py and _fsdp_collectives.py, torch 2.11",
    "torch/distributed/pipelining/stage.py; pytorch/torchtitan, torchtitan/models/llama3/infra/parallelize.py",
    "pytorch/torchtitan, torchtitan/models/llama4/infra/parallelize.py (apply_fsdp) and distributed/parallel_dims.py",
)

_DEFAULTS = {
    "reshard_after_forward": "true but for the root; in a pipeline false",
    "no_sync": "false; in a pipeline true",
}

STRATEGY = Strategy(
    name="fsdp2",
    system="PyTorch fully_shard (FSDP2), torchtitan",
    meaning="parameters, gradients and optimizer state in shards, one group a block; what FSDP is today",
    models=_MODELS,
    leaves_out=(
        "Padding of every parameter's first dimension: a group is padded as a whole.",
        "That experts are gathered later and reduced earlier than the rest of their block, and where blocks are "
        "computed again gathered for that by themselves.",
    ),
    defaults=_DEFAULTS,
    sources=_SOURCES,
)
HYBRID = Strategy(
    name="hsdp",
    system="PyTorch fully_shard on a two-dimensional mesh (HSDP)",
    meaning="FSDP2 inside a node, replicas across nodes: shards of gradients are all-reduced over the replicas",
    models=(*_MODELS, "The all-reduces over replicas run beside gathers and reduce-scatters, on their own stream."),
    leaves_out=STRATEGY.leaves_out,
    defaults=_DEFAULTS,
    sources=_SOURCES,
)
KIND: Final = Kind(STRATEGY, Fsdp2Plan(), Fsdp2Replica, SHARDED, ALL, framework=PYTORCH, accumulates=False)
HSDP: Final = Kind(HYBRID, HsdpPlan(), Fsdp2Replica, SHARDED, ALL, framework=PYTORCH, accumulates=False)
