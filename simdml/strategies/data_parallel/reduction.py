"""How the gradients of a unit become the shard of their mean: reduce-scatter, and all-reduce where shards repeat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from simdml.program.instructions import Collective, CollectiveKind, Instruction, Record, Wait
from simdml.strategies.data_parallel.gathering import ORIGINAL_BYTES, REPLICATE, copy
from simdml.strategies.data_parallel.offload import ToHost
from simdml.strategies.data_parallel.replica import CommunicationStream
from simdml.strategies.data_parallel.units import SHARD, Unit
from simdml.strategies.job import Job


@dataclass(slots=True)
class Reduction:
    """Reductions of units, issued on ``shards`` and, over ``dp_replicate``, on ``replicas``.

    Shards of gradients are kept in fp32 and summed over micro-batches. FSDP1: autograd joins the gradients of a unit's
    views into one flat gradient, which is converted if it is reduced in another type.
    """

    job: Job
    shards: CommunicationStream
    replicas: CommunicationStream
    to_host: ToHost | None = None
    """Where reduced shards go if they live on the host."""
    last: dict[str, str] = field(default_factory=dict)
    """The event after the last reduction over shards and over replicas."""
    _whole: set[str] = field(default_factory=set)
    _kept: set[str] = field(default_factory=set)
    _issued: int = 0

    def accumulate(self, unit: Unit) -> Iterator[Instruction]:
        """Yield the sum of a micro-batch's gradients with the whole ones kept so far, without any reduction."""
        if unit.name in self._whole:
            kept = self.job.training.gradient_bytes * unit.elements
            yield copy("gradients to sum", kept + self.job.training.weight_bytes * unit.elements, kept)
        self._whole.add(unit.name)

    def reduce(self, unit: Unit) -> Iterator[Instruction]:
        """Yield the compute stream's part of reducing the gradients of ``unit``; the rest is issued."""
        if unit.name in self._whole:
            yield from self.accumulate(unit)
        yield from self._prepared(unit)
        self._issued += 1
        ready, done = f"gradients of {unit.name}, {self._issued}", f"reduced {unit.name}, {self._issued}"
        yield Record(ready)
        reduced, shard = self.job.training.gradient_bytes, unit.shard
        payload = float(reduced * shard * unit.ranks)
        scatter = Collective(unit.name, CollectiveKind.REDUCE_SCATTER, unit.group, payload) if unit.ranks > 1 else None
        if self.job.mesh.size(REPLICATE) == 1:
            self.shards.run(scatter, after=(ready,))
            self._keep(unit, self.shards, shard, SHARD, done)
            return
        self.shards.run(scatter, after=(ready,), done=done)
        self.last[SHARD] = done
        total = Collective(unit.name, CollectiveKind.ALL_REDUCE, REPLICATE, float(reduced * shard))
        self.replicas.run(total, after=(done,))
        self._keep(unit, self.replicas, shard, REPLICATE, f"summed {unit.name}, {self._issued}")

    def _prepared(self, unit: Unit) -> Iterator[Instruction]:
        weight, reduced = self.job.training.weight_bytes, self.job.training.gradient_bytes
        yield copy("flat gradient", weight * unit.elements, weight * unit.elements)
        if reduced != weight:
            yield copy("gradient to reduce", weight * unit.elements, reduced * unit.elements)

    def _keep(self, unit: Unit, stream: CommunicationStream, shard: int, axis: str, done: str) -> None:
        """Convert the reduced shard to fp32, or add it to the one kept."""
        reduced = self.job.training.gradient_bytes
        if unit.name in self._kept:
            stream.instructions.append(
                copy("shard of gradients", (reduced + ORIGINAL_BYTES) * shard, ORIGINAL_BYTES * shard)
            )
        elif reduced != ORIGINAL_BYTES:
            stream.instructions.append(copy("shard of gradients", reduced * shard, ORIGINAL_BYTES * shard))
        stream.instructions.append(Record(done))
        self._kept.add(unit.name)
        self.last[axis] = done
        if self.to_host is not None:
            self.to_host.copy(float(ORIGINAL_BYTES * shard), done)


@dataclass(slots=True)
class CopiedIn(Reduction):
    """FSDP2: gradients are copied into one buffer, whose predecessor has to be reduced by then.

    The copy converts (_fsdp_collectives.py, foreach_reduce); only one reduce-scatter input is alive
    (_fsdp_param_group.py, reduce_scatter_max_input_buffers).
    """

    def _prepared(self, unit: Unit) -> Iterator[Instruction]:
        if SHARD in self.last:
            yield Wait(self.last[SHARD])
        weight, reduced = self.job.training.weight_bytes, self.job.training.gradient_bytes
        yield copy("gradients to reduce", weight * unit.elements, reduced * unit.elements)
