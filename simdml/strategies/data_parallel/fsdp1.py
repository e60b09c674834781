"""PyTorch FullyShardedDataParallel, the wrapper of 2022: flat parameters, two all-gathers in flight.

The sources are torch/distributed/fsdp/fully_sharded_data_parallel.py, _runtime_utils.py and _flat_param.py, and Zhao et
al., "PyTorch FSDP", VLDB 2023 (arXiv 2304.11277).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from simdml.strategies.data_parallel.fsdp import FsdpReplica, Prefetch
from simdml.strategies.data_parallel.gathering import RateLimited
from simdml.strategies.data_parallel.kind import PYTORCH, SHARDED, Kind
from simdml.strategies.data_parallel.offload import ToHost
from simdml.strategies.data_parallel.reduction import Reduction
from simdml.strategies.data_parallel.replica import CommunicationStream
from simdml.strategies.data_parallel.units import Wrap
from simdml.strategies.job import Job
from simdml.strategies.stage_code import StageCode
from simdml.strategies.strategy import Strategy

Sharding = Literal["full_shard", "shard_grad_op"]


@dataclass(frozen=True, slots=True)
class Fsdp1Plan:
    """FullyShardedDataParallel's arguments, with its defaults.

    ``full_shard`` frees a unit after forward and gathers it again for backward, ``shard_grad_op`` keeps it; the root is
    never freed after forward. With a ``dp_replicate`` axis these are HYBRID_SHARD and _HYBRID_SHARD_ZERO2.
    """

    sharding: Sharding = "full_shard"
    wrap: Wrap = "block"
    backward_prefetch: Prefetch = "pre"
    limit_all_gathers: bool = True
    no_sync: bool | None = False
    cpu_offload: bool = False

    @property
    def kind(self) -> str:
        """The strategy's name."""
        return "fsdp1"

    def reshards(self, *, is_root: bool, pipelined: bool) -> bool:
        """Say whether a unit is freed after forward and gathered again for backward."""
        del pipelined
        return self.sharding == "full_shard" and not is_root


class Fsdp1Replica(FsdpReplica):
    """A rank that uses units where they arrive and joins gradients before they are reduced."""

    def __init__(self, job: Job, code: Sequence[StageCode], plan: Fsdp1Plan) -> None:
        shards, replicas = CommunicationStream("shards"), CommunicationStream("replicas")
        gathering = RateLimited(job, shards, limited=plan.limit_all_gathers, from_host=plan.cpu_offload)
        reduction = Reduction(job, shards, replicas, ToHost() if plan.cpu_offload else None)
        super().__init__(job, code, plan, gathering, reduction)


STRATEGY = Strategy(
    name="fsdp1",
    system="PyTorch FullyShardedDataParallel",
    meaning="parameters, gradients and optimizer state in shards; blocks are gathered when they are needed",
    models=(
        "A unit a block, embedding and head in the root, which stays whole between forward and backward.",
        "All-gather before forward and before backward, reduce-scatter after backward, on one communicator in the "
        "order they are issued: in backward the next all-gather stands behind the reduction of the unit before.",
        "backward_prefetch, limit_all_gathers (a third all-gather waits for the oldest unit to be freed), mixed "
        "precision (fp32 shards, weights gathered in the training precision, training.gradients as reduce_dtype), "
        "gradient accumulation with a reduction for each micro-batch or, under no_sync, one.",
        "cpu_offload: shards come from the host before they are gathered, reduced gradients go there, and so is Adam.",
        "HYBRID_SHARD with mesh.dp_replicate: shards are all-reduced over the replicas.",
    ),
    leaves_out=("The time for which the host waits under limit_all_gathers; forward_prefetch.",),
    sources=(
        "torch/distributed/fsdp/_runtime_utils.py, _flat_param.py, _limiter_utils.py, torch 2.11",
        "Zhao et al., PyTorch FSDP, VLDB 2023, arXiv 2304.11277",
    ),
)
KIND: Final = Kind(
    STRATEGY,
    Fsdp1Plan(),
    Fsdp1Replica,
    SHARDED,
    combines=("tp",),
    instead="fsdp2",
    framework=PYTORCH,
    accumulates=False,
)
