"""Megatron-LM's distributed optimizer: gradients reduce-scattered in buckets, updated parameters all-gathered.

The sources are megatron/core/distributed/distributed_data_parallel.py and param_and_grad_buffer.py of Megatron-Core
0.16, and docs/user-guide/features/dist_optimizer.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from simdml.program.instructions import Collective, CollectiveKind, Instruction, Record, Wait
from simdml.program.program import Stream
from simdml.strategies.data_parallel.buckets import assign_buckets
from simdml.strategies.data_parallel.families import Family, families
from simdml.strategies.data_parallel.gathering import STEP_BEGINS, copy
from simdml.strategies.data_parallel.kind import ALL, MEGATRON, Kind
from simdml.strategies.data_parallel.replica import (
    CommunicationStream,
    Replica,
    ReplicaMemory,
    converted_gradients,
)
from simdml.strategies.job import gradient_ranks
from simdml.strategies.stage_code import Backward
from simdml.strategies.strategy import Strategy
from simdml.workload.optimizer import optimizer_state_bytes_per_parameter

GROUP: Final = "dp"
SMALLEST_BUCKET: Final = 40_000_000
ELEMENTS_A_RANK: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class DistributedOptimizerPlan:
    """Megatron-LM's ``--use-distributed-optimizer`` and its two overlaps, off by default as there.

    ``ddp_bucket_size`` counts parameters; None is max(40 million, 1 million a replica).
    """

    overlap_grad_reduce: bool = False
    overlap_param_gather: bool = False
    ddp_bucket_size: int | None = None

    @property
    def kind(self) -> str:
        """The strategy's name."""
        return "distributed_optimizer"


@dataclass(frozen=True, slots=True)
class ShardedBucket:
    """A bucket of a chunk's buffer: its elements, padded to equal shards, and its last gradient to get ready.

    ``family`` says which ranks have the shards: those of experts are in a buffer of their own.
    """

    name: str
    elements: int
    last: int
    family: Family


@dataclass(slots=True)
class DistributedOptimizerReplica(Replica):
    """A rank that updates a shard of every bucket."""

    plan: DistributedOptimizerPlan
    reductions: CommunicationStream = field(default_factory=lambda: CommunicationStream("gradients"))
    gathers: CommunicationStream = field(default_factory=lambda: CommunicationStream("parameters"))
    buckets: list[list[ShardedBucket]] = field(init=False)
    _gathered: set[str] = field(default_factory=set)
    _reduced: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        first_stage = self.code[0].blocks[0] is self.job.build(self.job.training.microbatch).blocks[0]
        self.buckets = [
            self._divided(chunk, bucketed=self.plan.overlap_grad_reduce and first_stage and chunk == 0)
            for chunk in range(len(self.code))
        ]

    def start(self) -> Iterator[Instruction]:
        """Yield the mark that the step before has updated its shards, and issue the first all-gather.

        With overlap the parameters of this step are gathered during its first forward, which in the steady state is
        the same as in the step before.
        """
        if self.plan.overlap_param_gather:
            yield Record(STEP_BEGINS)
            self._gather(self._in_forward_order()[0], STEP_BEGINS)

    def forward(self, chunk: int) -> Iterator[Instruction]:
        """Yield a forward; the first one of a chunk waits for its buckets, each as it comes to it."""
        code = self.code[chunk]
        if not self.plan.overlap_param_gather or self._gathered.issuperset(b.name for b in self.buckets[chunk]):
            yield code.forward()
            return
        reached = len(code.gradients())
        for step in code.forward_steps():
            reached -= len(step.layer.parameters)
            for bucket in reversed(self.buckets[chunk]):
                if bucket.last >= reached and bucket.name not in self._gathered:
                    yield from self._arrive(bucket)
            yield from step.instructions

    def backward(self, chunk: int, *, last: bool, half: Backward = Backward.WHOLE) -> Iterator[Instruction]:
        """Yield a backward; the last one reduces its buckets as they get ready if reductions overlap."""
        code = self.code[chunk].only(half)
        if not last or not self.plan.overlap_grad_reduce:
            yield code.backward()
            return
        buckets, launched = self.buckets[chunk], 0

        def gradient_ready(count: int) -> Iterator[Instruction]:
            nonlocal launched
            while launched < len(buckets) and buckets[launched].last < count:
                yield from self._reduce(buckets[launched])
                launched += 1

        yield from code.backward_by_layer(gradient_ready)

    def finish(self) -> Iterator[Instruction]:
        """Yield the reductions, or the wait for those under way."""
        if not self.plan.overlap_grad_reduce:
            for bucket in chain.from_iterable(self.buckets):
                yield from self._scaled(bucket)
                yield from self._reduction(bucket)
        for event in self._reduced:
            yield Wait(event)

    def update(self) -> Iterator[Instruction]:
        """Yield the optimizer step over the shards and, unless they are gathered in forward, the all-gathers."""
        yield self.optimizer(self._shards())
        if not self.plan.overlap_param_gather:
            for bucket in self._in_forward_order():
                yield from self._gathering(bucket)

    def streams(self) -> Iterable[Stream]:
        """Return the stream of the communicator, whichever of the two directions overlaps."""
        together = CommunicationStream("shards", [*self.gathers.instructions, *self.reductions.instructions])
        return together.stream()

    def memory(self) -> ReplicaMemory:
        """Return 6 + 12/d bytes a parameter for Adam in bf16 with fp32 gradients, 4 + 16/d in fp16, 8 + 8/d in fp32.

        Gradients of half precision are converted to fp32 for the shard that is updated (dist_optimizer.md).
        """
        training, shards = self.job.training, self._shards()
        state = optimizer_state_bytes_per_parameter(training.optimizer, training.precision)
        return ReplicaMemory(
            parameters=training.weight_bytes * self.elements + self.weight_copies_bytes(),
            gradients=float(training.gradient_bytes * self.elements),
            optimizer=float(state * shards),
            after_backward=converted_gradients(training, shards),
        )

    def clipped(self) -> tuple[int, int]:
        """Return the shards of the gradients."""
        return self._shards(), self.job.training.gradient_bytes

    def norm_axes(self) -> tuple[str, ...]:
        """Return the axes along which ranks own different shards."""
        return ("tp", "pp", "cp", "ep", GROUP)

    def _shards(self) -> int:
        return sum(bucket.elements // bucket.family.ranks for bucket in chain.from_iterable(self.buckets))

    def _divided(self, chunk: int, *, bucketed: bool) -> list[ShardedBucket]:
        """Return the buckets of a chunk in the order of backward, those of experts among the rest.

        Stages but the first and chunks but the first have one (distributed_data_parallel.py: their communication is not
        on the critical path), as has everything without overlap_grad_reduce.
        """
        ranks = gradient_ranks(self.job.mesh)
        size = self.plan.ddp_bucket_size or max(SMALLEST_BUCKET, ELEMENTS_A_RANK * ranks)
        found = []
        for family in families(self.job, GROUP):
            own = [(index, count) for index, count in enumerate(family.gradients(self.code[chunk])) if count]
            counts = [count for _, count in own]
            for number, bucket in enumerate(assign_buckets(counts, size if bucketed else sum(counts) + 1)):
                elements = family.part(sum(counts[place] for place in bucket.parameters)) * family.ranks
                name = f"bucket {number} of {family.name + ' of ' if family.name else ''}chunk {chunk}"
                found.append(ShardedBucket(name, elements, own[bucket.parameters[-1]][0], family))
        return sorted(found, key=lambda bucket: bucket.last)

    def _in_forward_order(self) -> list[ShardedBucket]:
        return [bucket for buckets in self.buckets for bucket in reversed(buckets)]

    def _arrive(self, bucket: ShardedBucket) -> Iterator[Instruction]:
        """Yield the wait for a bucket; the next one's all-gather is issued then (finish_param_sync)."""
        yield Wait(f"gathered {bucket.name}")
        self._gathered.add(bucket.name)
        order = self._in_forward_order()
        following = order.index(bucket) + 1
        if following < len(order):
            yield Record(f"used {bucket.name}")
            self._gather(order[following], f"used {bucket.name}")

    def _gather(self, bucket: ShardedBucket, after: str) -> None:
        self.gathers.run(next(self._gathering(bucket), None), after=(after,), done=f"gathered {bucket.name}")

    def _gathering(self, bucket: ShardedBucket) -> Iterator[Collective]:
        """Yield the all-gather of a bucket's parameters, if they are in shards."""
        if bucket.family.ranks > 1:
            payload = float(self.job.training.weight_bytes * bucket.elements)
            name = f"parameters of {bucket.name}"
            yield Collective(name, CollectiveKind.ALL_GATHER, bucket.family.group, payload)

    def _scaled(self, bucket: ShardedBucket) -> Iterator[Instruction]:
        """Yield the division by the number of replicas, a kernel over the bucket (start_grad_sync)."""
        nbytes = self.job.training.gradient_bytes * bucket.elements
        yield copy("scaled gradients", nbytes, nbytes)

    def _reduction(self, bucket: ShardedBucket) -> Iterator[Collective]:
        if bucket.family.ranks > 1:
            payload = float(self.job.training.gradient_bytes * bucket.elements)
            yield Collective(bucket.name, CollectiveKind.REDUCE_SCATTER, bucket.family.group, payload)

    def _reduce(self, bucket: ShardedBucket) -> Iterator[Instruction]:
        yield from self._scaled(bucket)
        yield Record(bucket.name)
        self.reductions.run(next(self._reduction(bucket), None), after=(bucket.name,), done=f"{bucket.name} reduced")
        self._reduced.append(f"{bucket.name} reduced")


STRATEGY = Strategy(
    name="distributed_optimizer",
    system="Megatron-LM, --use-distributed-optimizer",
    meaning="the optimizer's state in shards; gradients reduce-scattered and parameters all-gathered in buckets",
    models=(
        "Buckets of max(40 million, 1 million a replica) parameters in the order of backward, on the first stage.",
        "overlap_grad_reduce: buckets are reduce-scattered while the last backward goes on; without, after it.",
        "overlap_param_gather: the all-gather of a bucket begins when forward comes to the bucket before it; without, "
        "after the optimizer step.",
        "With tensor, context, pipeline and expert parallelism, any schedule and any number of chunks; experts in "
        "buffers of their own, whose shards lie on the ranks that hold the same ones.",
    ),
    leaves_out=("num_distributed_optimizer_instances, align_param_gather, fp8 parameters.",),
    defaults={"ddp_bucket_size": "40 million parameters, or 1 million a replica where that is more"},
    sources=(
        "NVIDIA/Megatron-LM, megatron/core/distributed/distributed_data_parallel.py and param_and_grad_buffer.py, 0.16",
        "NVIDIA/Megatron-LM, docs/user-guide/features/dist_optimizer.md",
    ),
)
KIND: Final = Kind(STRATEGY, DistributedOptimizerPlan(), DistributedOptimizerReplica, combines=ALL, framework=MEGATRON)
