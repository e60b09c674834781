"""PyTorch DistributedDataParallel: gradients all-reduced in buckets while backward goes on.

Also Megatron-LM's, which reduces in one piece after backward unless told to overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from simdml.program.instructions import Activity, Collective, CollectiveKind, Compute, Instruction, Record, Wait
from simdml.program.program import Stream
from simdml.strategies.data_parallel.buckets import assign_buckets
from simdml.strategies.data_parallel.replica import CommunicationStream, Replica, ReplicaMemory
from simdml.strategies.job import DataParallelPlan
from simdml.strategies.stage_code import Backward
from simdml.strategies.strategy import Strategy
from simdml.workload.operators import Family, Operator, Phase, memory_bound

GROUP = "dp"
STREAM = "gradients"


@dataclass(slots=True)
class DdpReplica(Replica):
    """A rank whose gradients are all-reduced over ``dp``, those of every chunk once a step."""

    plan: DataParallelPlan
    reductions: CommunicationStream = field(default_factory=lambda: CommunicationStream(STREAM))
    _awaited: list[str] = field(default_factory=list)

    def backward(self, chunk: int, *, last: bool, half: Backward = Backward.WHOLE) -> Iterator[Instruction]:
        """Yield a backward; the last one reduces."""
        code, name = self.code[chunk].only(half), f"chunk {chunk}"
        if not last:
            yield code.backward()
            return
        gradients = [elements * self.job.training.gradient_bytes for elements in code.gradients()]
        if not self.plan.overlap:
            yield code.backward()
            yield Record(f"gradients of {name}")
            self._reduce(f"gradients of {name}", sum(gradients))
            return
        buckets = assign_buckets(gradients, self.plan.bucket_cap_bytes, first_iteration=self.plan.first_iteration)
        launched = copied = 0

        def gradient_ready(count: int) -> Iterator[Instruction]:
            nonlocal launched, copied
            if not self.plan.gradient_as_bucket_view and count > copied:
                yield _copies(f"gradients into buckets of {name}", gradients[copied:count])
                copied = count
            while launched < len(buckets) and buckets[launched].parameters[-1] < count:
                event = f"bucket {launched} of {name}"
                yield Record(event)
                self._reduce(event, buckets[launched].payload_bytes)
                launched += 1

        yield from code.backward_by_layer(gradient_ready)

    def finish(self) -> Iterator[Instruction]:
        """Yield the compute stream's wait for all reductions."""
        awaited, self._awaited = self._awaited, []
        for event in awaited:
            yield Wait(f"{event} reduced")

    def memory(self) -> ReplicaMemory:
        """Return the training state of every parameter, and a copy of its gradient in the buckets unless they alias."""
        state = Replica.memory(self)
        return state if self.plan.gradient_as_bucket_view else replace(state, buffers=state.gradients)

    def streams(self) -> Iterable[Stream]:
        """Return the stream of the reductions."""
        return self.reductions.stream()

    def _reduce(self, event: str, payload_bytes: int) -> None:
        collective = Collective(event, CollectiveKind.ALL_REDUCE, GROUP, float(payload_bytes))
        self.reductions.run(collective, after=(event,), done=f"{event} reduced")
        self._awaited.append(event)


def _copies(label: str, gradients: list[int]) -> Compute:
    operators: list[Operator] = [
        memory_bound(
            "copy gradient",
            Family.COPY,
            read_bytes=nbytes,
            written_bytes=nbytes,
            element_bytes=4,
            phase=Phase.WEIGHT_GRADIENT,
        )
        for nbytes in gradients
    ]
    return Compute(label, Activity.CAST, tuple(operators))


STRATEGY = Strategy(
    name="ddp",
    system="PyTorch DistributedDataParallel; Megatron-LM's own with a mesh",
    meaning="every GPU holds the model; gradients are all-reduced in buckets while backward goes on",
    models=(
        "Buckets in the order gradients get ready, 1 MiB first and then 25 MiB, launched strictly in turn.",
        "The first iteration, which reduces one bucket of everything after backward.",
        "Copies of gradients into buckets and back, unless gradients are views of the buckets.",
    ),
    sources=(
        "torch/nn/parallel/distributed.py and torch/csrc/distributed/c10d/reducer.cpp, torch 2.11",
        "Li et al., PyTorch Distributed, VLDB 2020, arXiv 2006.15704",
    ),
)
