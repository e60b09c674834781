"""PyTorch DistributedDataParallel: gradients all-reduced in buckets while backward goes on.

Also Megatron-LM's, which reduces in one piece after backward unless told to overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from simdml.errors import InfeasibleError
from simdml.program.instructions import Activity, Collective, CollectiveKind, Compute, Instruction, Record, Wait
from simdml.program.program import Stream
from simdml.strategies import expert_parallel
from simdml.strategies.data_parallel.buckets import assign_buckets, assign_registered_buckets
from simdml.strategies.data_parallel.comm_hooks import Gradient, hooked
from simdml.strategies.data_parallel.kind import ALL, Kind
from simdml.strategies.data_parallel.module_buffers import broadcast_buffers
from simdml.strategies.data_parallel.replica import CommunicationStream, Replica, ReplicaMemory
from simdml.strategies.job import DataParallelPlan, gradient_ranks
from simdml.strategies.stage_code import Backward, StageCode
from simdml.strategies.strategy import Strategy
from simdml.workload.operators import Family, Operator, Phase, memory_bound

GROUP = "dp"
STREAM = "gradients"
BITMAP_BYTES = 4
"""Bytes of a parameter's place in the map of used parameters (reducer.cpp, local_used_map_)."""


@dataclass(slots=True)
class DdpReplica(Replica):
    """A rank whose gradients are all-reduced over ``dp``, those of every chunk once a step unless told otherwise."""

    plan: DataParallelPlan
    group: str = GROUP
    reductions: CommunicationStream = field(default_factory=lambda: CommunicationStream(STREAM))
    _awaited: list[str] = field(default_factory=list)
    _forwards: int = 0

    def __post_init__(self) -> None:
        if self.plan.comm_hook.endswith("powersgd") and self.job.mesh.size("tp") > 1:
            raise InfeasibleError(
                "PowerSGD compresses whole matrices, and tp cuts them", hint="leave tp out, or comm_hook: fp16_compress"
            )

    def forward(self, chunk: int) -> Iterator[Instruction]:
        """Yield a forward, after the broadcast of buffers if its backward will reduce."""
        self._forwards += 1
        syncs = not self.plan.no_sync or self._forwards % self.job.training.num_microbatches == 0
        if self.plan.broadcast_buffers and syncs and self.job.mesh.size("pp") == 1:
            yield from broadcast_buffers(self.code[chunk], self.group)
        yield self.code[chunk].forward()

    def backward(self, chunk: int, *, last: bool, half: Backward = Backward.WHOLE) -> Iterator[Instruction]:
        """Yield a backward; the last one reduces, or each, which then waits for its reductions."""
        code, name = self.code[chunk].only(half), f"chunk {chunk}"
        if not last and (self.plan.no_sync or half is Backward.INPUTS):
            yield code.backward()
            return
        if self.plan.overlap:
            yield from self._bucketed(code, name)
        else:
            yield code.backward()
            gradients = self._gradients(code)
            for group, what, indices in self._families(code):
                yield from self._reduce(f"{what} of {name}", [gradients[index] for index in indices], group)
        if not last:
            yield from self.finish()

    def finish(self) -> Iterator[Instruction]:
        """Yield the compute stream's wait for all reductions, and the copies out of the buckets."""
        awaited, self._awaited = self._awaited, []
        for event in awaited:
            yield Wait(f"{event} reduced")
        if awaited and self.plan.overlap and not self.plan.gradient_as_bucket_view:
            sizes = [count * self.job.training.gradient_bytes for code in self.code for count in code.gradients()]
            yield _copies("gradients from buckets", sizes)

    def memory(self) -> ReplicaMemory:
        """Return the training state, a copy of gradients in the buckets unless they alias, and PowerSGD's errors."""
        state = Replica.memory(self)
        copies = (not self.plan.gradient_as_bucket_view) + self.plan.comm_hook.endswith("powersgd")
        return replace(state, buffers=copies * state.gradients)

    def streams(self) -> Iterable[Stream]:
        """Return the stream of the reductions."""
        return self.reductions.stream()

    def _bucketed(self, code: StageCode, name: str) -> Iterator[Instruction]:
        """Yield a backward in which buckets are launched strictly in turn, each when its gradients are ready."""
        gradients = self._gradients(code)
        sizes = [gradient.elements * self.job.training.gradient_bytes for gradient in gradients]
        families = [(group, what, self._buckets(sizes, own)) for group, what, own in self._families(code)]
        launched = [0] * len(families)
        copied = 0

        def gradient_ready(count: int) -> Iterator[Instruction]:
            nonlocal copied
            if not self.plan.gradient_as_bucket_view and count > copied:
                yield _copies(f"gradients into buckets of {name}", sizes[copied:count])
                copied = count
            for number, (group, what, buckets) in enumerate(families):
                while launched[number] < len(buckets) and buckets[launched[number]][-1] < count:
                    members = [gradients[index] for index in buckets[launched[number]]]
                    yield from self._reduce(f"bucket {launched[number]} of {what} of {name}", members, group)
                    launched[number] += 1

        yield from code.backward_by_layer(gradient_ready)
        if self.plan.finds_unused:
            event = f"used parameters of {name}"
            yield Record(event)
            payload = float(BITMAP_BYTES * len(gradients))
            self._issue(event, [Collective(event, CollectiveKind.ALL_REDUCE, self.group, payload)])

    def _families(self, code: StageCode) -> list[tuple[str, str, list[int]]]:
        """Return group, name and indices of the gradients that are summed over the same ranks.

        Megatron-LM keeps those of experts in buffers of their own (megatron/core/distributed/
        distributed_data_parallel.py, expert_parallel_buffers).
        """
        experts = code.of_experts()
        families = [
            (self.group, "gradients", [index for index, expert in enumerate(experts) if not expert]),
            (expert_parallel.GRADIENTS, "experts", [index for index, expert in enumerate(experts) if expert]),
        ]
        alone = gradient_ranks(self.job.mesh) == self.job.spread.ep
        return [family for family in families if family[2] and not (alone and family[0] == expert_parallel.GRADIENTS)]

    def _buckets(self, sizes: Sequence[int], own: Sequence[int]) -> list[list[int]]:
        """Return the buckets of the gradients ``own``, as indices."""
        mine = [sizes[index] for index in own]
        if self.plan.finds_unused:
            buckets = assign_registered_buckets(mine, self.plan.bucket_cap_bytes)
        else:
            buckets = assign_buckets(mine, self.plan.bucket_cap_bytes, first_iteration=self.plan.first_iteration)
        return [[own[place] for place in bucket.parameters] for bucket in buckets]

    def _gradients(self, code: StageCode) -> list[Gradient]:
        rows = [p.rows for _, layer in code.layers_in_backward_order() for p in reversed(layer.parameters)]
        return [Gradient(count, row) for count, row in zip(code.gradients(), rows, strict=True)]

    def _reduce(self, event: str, gradients: Sequence[Gradient], group: str) -> Iterator[Instruction]:
        """Yield the compute stream's part of a reduction; the rest is issued."""
        reduction = hooked(self.plan, event, gradients, self.job.training.gradient_bytes, group)
        yield from reduction.before
        yield Record(event)
        self._issue(event, reduction.reduction)

    def _issue(self, event: str, instructions: Iterable[Instruction]) -> None:
        self.reductions.instructions += [Wait(event), *instructions, Record(f"{event} reduced")]
        self._awaited.append(event)


def _copies(label: str, sizes: Sequence[int]) -> Compute:
    operators: list[Operator] = [
        memory_bound(
            "copy gradient",
            Family.COPY,
            read_bytes=nbytes,
            written_bytes=nbytes,
            element_bytes=4,
            phase=Phase.WEIGHT_GRADIENT,
        )
        for nbytes in sizes
    ]
    return Compute(label, Activity.CAST, tuple(operators))


STRATEGY = Strategy(
    name="ddp",
    system="PyTorch DistributedDataParallel; Megatron-LM's own with a mesh",
    meaning="every GPU holds the model; gradients are all-reduced in buckets while backward goes on",
    models=(
        "Buckets in the order gradients get ready, 1 MiB first and then 25 MiB, launched strictly in turn.",
        "The first iteration, which reduces one bucket of everything after backward.",
        "find_unused_parameters: buckets of registration order, and an all-reduce of the map of used parameters; "
        "static_graph, which does without.",
        "Copies of gradients into buckets and back, unless gradients are views of the buckets.",
        "no_sync: one reduction for all micro-batches (the default), or one each.",
        "broadcast_buffers: batch norms' statistics from rank 0 before forward.",
        "comm_hook: fp16_compress, bf16_compress, powersgd and batched_powersgd with their kernels and error feedback.",
    ),
    leaves_out=(
        "The host's traversal of the graph for unused parameters; uneven inputs (Join); quantization hooks.",
        "PowerSGD's first 1,000 steps, which all-reduce; its synchronisation of the host.",
    ),
    defaults={
        "overlap": "true; with a mesh false",
        "bucket_cap": "1 MiB first, then 25 MiB",
        "gradient_as_bucket_view": "false; with a mesh true",
    },
    sources=(
        "torch/nn/parallel/distributed.py and torch/csrc/distributed/c10d/reducer.cpp, torch 2.11",
        "torch/distributed/algorithms/ddp_comm_hooks/default_hooks.py and powerSGD_hook.py",
        "Li et al., PyTorch Distributed, VLDB 2020, arXiv 2006.15704; Vogels et al., PowerSGD, arXiv 1905.13727",
    ),
)
KIND: Final = Kind(STRATEGY, DataParallelPlan(), DdpReplica, combines=ALL)
