"""What PyTorch's two FSDPs share: parameters in shards, gathered unit by unit, gradients reduce-scattered.

A unit is gathered when forward or backward comes to it, or earlier if it is prefetched, and freed after. All-gathers
and reduce-scatters use one communicator and so run in the order they are issued
(torch/distributed/fsdp/_runtime_utils.py; torch/distributed/fsdp/_fully_shard/_fsdp_param_group.py). The sharded
parameters are fp32; what is gathered and computed with is of the training precision.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, Protocol

from simdml.program.instructions import Instruction, Record, Wait
from simdml.program.program import Stream
from simdml.strategies.data_parallel.gathering import ORIGINAL_BYTES, STEP_BEGINS, Gathering
from simdml.strategies.data_parallel.reduction import Reduction
from simdml.strategies.data_parallel.replica import Replica, ReplicaMemory
from simdml.strategies.data_parallel.units import SHARD, Unit, Wrap, largest_pair, wrap_blocks
from simdml.strategies.job import Job
from simdml.strategies.stage_code import Backward, StageCode
from simdml.workload.optimizer import optimizer_state_bytes_per_parameter

Prefetch = Literal["pre", "post", "none"]
"""When the next unit of backward is gathered: before the gradients of this one are computed, after, or when needed."""


class FsdpPlan(Protocol):
    """What the plans of both FSDPs have."""

    @property
    def wrap(self) -> Wrap:
        """What a unit is."""

    @property
    def backward_prefetch(self) -> Prefetch:
        """When the next unit of backward is gathered."""

    @property
    def no_sync(self) -> bool | None:
        """Whether gradients are reduced after the last micro-batch alone; by default in a pipeline."""

    @property
    def cpu_offload(self) -> bool:
        """Whether shards and the optimizer live on the host."""

    def reshards(self, *, is_root: bool, pipelined: bool) -> bool:
        """Say whether a unit is freed after forward and gathered again for backward."""


class FsdpReplica(Replica):
    """A rank that holds a shard of every unit."""

    def __init__(
        self, job: Job, code: Sequence[StageCode], plan: FsdpPlan, gathering: Gathering, reduction: Reduction
    ) -> None:
        super().__init__(job, code)
        self.plan = plan
        self.gathering = gathering
        self.reduction = reduction
        model = job.build(job.training.microbatch)
        self.units = [
            wrap_blocks(each, f"chunk {chunk}", model, job.mesh, plan.wrap) for chunk, each in enumerate(code)
        ]
        self.pipelined = job.mesh.size("pp") > 1
        self.no_sync = self.pipelined if plan.no_sync is None else plan.no_sync

    def start(self) -> Iterator[Instruction]:
        """Yield the mark that parameters are those of this step."""
        yield Record(STEP_BEGINS)

    def forward(self, chunk: int) -> Iterator[Instruction]:
        """Yield a forward, every unit gathered before and freed after it."""
        code, units = self.code[chunk], self.units[chunk]
        self.gathering.in_backward = False
        yield from self.gathering.use(units.root)
        for block, own in zip(code.blocks, units.of_block, strict=True):
            yield from self.gathering.use(own)
            yield from code.forward_block(block)
            if self._reshards(is_root=False):
                yield from self.gathering.free(own)
        if self._reshards(is_root=True):
            yield from self.gathering.free(units.root)
        yield from self.gathering.forward_ends()

    def backward(self, chunk: int, *, last: bool, half: Backward = Backward.WHOLE) -> Iterator[Instruction]:
        """Yield a backward, every unit gathered before, freed and reduced after it.

        In a pipeline, PyTorch reduces after the whole last backward (torch/distributed/pipelining/stage.py,
        backward_maybe_with_nosync), and keeps parameters whole until then.
        """
        code, units, when = self.code[chunk].only(half), self.units[chunk], self.plan.backward_prefetch
        self.gathering.in_backward = True
        reduces = (last or not self.no_sync) and not self.pipelined
        upcoming = iter([own for own in reversed(units.of_block) if own])
        yield from self.gathering.use(units.root)
        first = next(upcoming, ())
        if when != "none" and units.root:
            self.gathering.prefetch(first)
        for block, own in zip(reversed(code.blocks), reversed(units.of_block), strict=True):
            if not own:
                yield from code.backward_block(block)
                continue
            yield from self.gathering.use(own)
            if when == "pre":
                self.gathering.prefetch(next(upcoming, ()))
            yield from code.backward_block(block)
            yield from self._freed(own, last=last)
            if when == "post":
                self.gathering.prefetch(next(upcoming, ()))
            yield from self._gradients(own, half, reduces=reduces)
        yield from self._freed(units.root, last=last)
        yield from self._gradients(units.root, half, reduces=reduces)
        if last and self.pipelined:
            for unit in units.all():
                yield from self.reduction.reduce(unit)

    def finish(self) -> Iterator[Instruction]:
        """Yield the compute stream's wait for the last reduction on each axis."""
        for event in self.reduction.last.values():
            yield Wait(event)

    def update(self) -> Iterator[Instruction]:
        """Yield the optimizer step over the shards, which are fp32 in every precision, where they are."""
        if self.reduction.to_host is not None:
            yield from self.reduction.to_host.wait()
        yield self.optimizer(self._shard_elements(), "fp32", on_host=self.plan.cpu_offload)

    def streams(self) -> Iterable[Stream]:
        """Return the streams of both communicators, and that of copies to the host."""
        copies = () if self.reduction.to_host is None else self.reduction.to_host.streams()
        return (*self.reduction.shards.stream(), *self.reduction.replicas.stream(), *copies)

    def clipped(self) -> tuple[int, int]:
        """Return the shards of the gradients."""
        return self._shard_elements(), ORIGINAL_BYTES

    def norm_axes(self) -> tuple[str, ...]:
        """Return the axes along which ranks hold different shards."""
        return ("tp", "pp", "cp", "ep", SHARD)

    def memory(self) -> ReplicaMemory:
        """Return (4 + 4 + state) bytes of every shard, and what is whole at a time.

        Whole at a time are two neighbouring blocks' weights, a block's gradient in the type that is reduced, and the
        weights that stay gathered between forward and backward. Without synchronisation gradients are whole.
        """
        training, shards = self.job.training, self._shard_elements()
        state = optimizer_state_bytes_per_parameter(training.optimizer, "fp32")
        moving = staying = 0
        for units in self.units:
            groups = units.together()
            moves = [_elements(own) for own in groups if self._reshards(is_root=own is units.root)]
            moving = max(moving, largest_pair(moves))
            staying += _elements(units.all()) - sum(moves)
        largest = max((_elements(own) for units in self.units for own in units.together()), default=0)
        whole = self.elements * training.gradient_bytes if self.no_sync and training.num_microbatches > 1 else 0
        there, here = (1, 0) if self.plan.cpu_offload else (0, 1)
        return ReplicaMemory(
            parameters=float(here * ORIGINAL_BYTES * shards),
            gradients=float(here * ORIGINAL_BYTES * shards + whole),
            optimizer=float(here * state * shards),
            host=float(there * (2 * ORIGINAL_BYTES + state) * shards),
            buffers=float(training.weight_bytes * (moving + staying) + training.gradient_bytes * largest),
        )

    def _reshards(self, *, is_root: bool) -> bool:
        return self.plan.reshards(is_root=is_root, pipelined=self.pipelined)

    def _freed(self, own: Iterable[Unit], *, last: bool) -> Iterator[Instruction]:
        """Free units after backward, which a pipeline does after the last micro-batch alone."""
        if last or not self.pipelined:
            yield from self.gathering.free(own)

    def _gradients(self, own: Sequence[Unit], half: Backward, *, reduces: bool) -> Iterator[Instruction]:
        """Yield what becomes of the gradients of units after their backward; those of experts are ready first."""
        for unit in reversed(own) if half is not Backward.INPUTS else ():
            yield from self.reduction.reduce(unit) if reduces else self.reduction.accumulate(unit)

    def _shard_elements(self) -> int:
        return sum(unit.shard for units in self.units for unit in units.all())


def _elements(units: Iterable[Unit]) -> int:
    return sum(unit.elements for unit in units)
