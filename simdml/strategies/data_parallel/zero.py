"""DeepSpeed ZeRO stages 1 and 2: optimizer state, then gradients too, in parts of equal size.

The sources are deepspeed/runtime/zero/stage_1_and_2.py and deepspeed/runtime/zero/config.py of DeepSpeed 0.16.4, and
Rajbhandari et al., "ZeRO" (arXiv 1910.02054). Sizes of buckets count elements, not bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from simdml.program.instructions import Collective, CollectiveKind, HostCopy, Instruction, Record, Wait
from simdml.program.program import Stream
from simdml.strategies.data_parallel.families import Family, families
from simdml.strategies.data_parallel.gathering import copy
from simdml.strategies.data_parallel.kind import ALL, PYTORCH, Kind
from simdml.strategies.data_parallel.offload import Offload, ToHost
from simdml.strategies.data_parallel.replica import CommunicationStream, Replica, ReplicaMemory
from simdml.strategies.data_parallel.zero_memory import beside_fp32_gradients, bf16_optimizer_copies, step_copies
from simdml.strategies.job import gradient_ranks
from simdml.strategies.stage_code import Backward, StageCode
from simdml.strategies.strategy import Strategy
from simdml.workload.optimizer import optimizer_state_bytes_per_parameter

GROUP: Final = "dp"


@dataclass(frozen=True, slots=True)
class Zero1Plan:
    """The ``zero_optimization`` section of DeepSpeed's configuration for stage 1, with its defaults.

    With ``reduce_scatter`` every gradient goes to the rank that owns its part, the reduce-scatter of the ZeRO paper;
    ``use_multi_rank_bucket_allreduce`` is DeepSpeed's way of doing that with all-reduces of buckets, twice the bytes.
    """

    overlap_comm: bool = False
    reduce_scatter: bool = True
    use_multi_rank_bucket_allreduce: bool = False
    contiguous_gradients: bool = True
    reduce_bucket_size: int = 500_000_000
    allgather_bucket_size: int = 500_000_000
    offload_optimizer: Offload = "none"

    @property
    def kind(self) -> str:
        """The strategy's name."""
        return "zero1"

    @property
    def partitions_gradients(self) -> bool:
        """Whether gradients are reduced in every backward and only a part of them is kept."""
        return False


@dataclass(frozen=True, slots=True)
class Zero2Plan(Zero1Plan):
    """The same for stage 2, which keeps a part of the gradients."""

    @property
    def kind(self) -> str:
        """The strategy's name."""
        return "zero2"

    @property
    def partitions_gradients(self) -> bool:
        """Whether gradients are reduced in every backward and only a part of them is kept."""
        return True


def fill_buckets(elements: Sequence[int], limit: int) -> list[tuple[int, ...]]:
    """Return the gradients of each bucket, as indices.

    A bucket is closed before a gradient that would take it above ``limit``; one larger than that is alone
    (reduce_independent_p_g_buckets_and_remove_grads).
    """
    buckets: list[tuple[int, ...]] = []
    size, members = 0, list[int]()
    for index, count in enumerate(elements):
        if members and size + count > limit:
            buckets.append(tuple(members))
            size, members = 0, []
        size += count
        members.append(index)
    return [*buckets, tuple(members)] if members else buckets


@dataclass(frozen=True, slots=True)
class Bucket:
    """Gradients reduced together: the index of the ``first``, and the elements of each family."""

    first: int
    parts: tuple[tuple[Family, int], ...]


@dataclass(slots=True)
class ZeroReplica(Replica):
    """A rank that updates its part of the parameters and then gathers the others'."""

    plan: Zero1Plan
    reductions: CommunicationStream = field(default_factory=lambda: CommunicationStream("gradients"))
    to_host: ToHost = field(default_factory=ToHost)
    _reduced: str | None = None
    _micro_batch: int = 0

    def backward(self, chunk: int, *, last: bool, half: Backward = Backward.WHOLE) -> Iterator[Instruction]:
        """Yield a backward; stage 2 reduces in each, stage 1 in the last, and without overlap after it."""
        code = self.code[chunk].only(half)
        self._micro_batch += 1
        if self.plan.partitions_gradients or (last and self.plan.overlap_comm):
            yield from self._reducing(code, f"{chunk}, {self._micro_batch}")
        else:
            yield code.backward()

    def finish(self) -> Iterator[Instruction]:
        """Yield what is left to reduce, and the wait for what is under way."""
        if not self.plan.partitions_gradients and not self.plan.overlap_comm:
            for number, bucket in enumerate(self._buckets(self.code)):
                yield from self._reduce(bucket, f"bucket {number}")
        if self._reduced is not None and self.plan.overlap_comm:
            yield Wait(self._reduced)

    def update(self) -> Iterator[Instruction]:
        """Yield the optimizer step over a part of the parameters, and the all-gather of all of them.

        Offloaded, the step waits for the gradients on the host, and weights come back before they are gathered.
        """
        yield from self.to_host.wait()
        yield self.optimizer(self._part(), on_host=self._offloads(), fused=self._offloads())
        if self._offloads():
            nbytes = float(self.job.training.weight_bytes * self._part())
            yield HostCopy("updated parameters", nbytes, to_host=False)
        for family in self._families():
            whole, weight = family.part(family.elements(self.code)) * family.ranks, self.job.training.weight_bytes
            pieces = max(1, whole // self.plan.allgather_bucket_size)
            for _ in range(pieces if family.ranks > 1 else 0):
                payload = weight * whole / pieces
                yield Collective("updated parameters", CollectiveKind.ALL_GATHER, family.group, payload)

    def streams(self) -> Iterable[Stream]:
        """Return the stream of reductions that overlap, and that of copies to the host."""
        return (*self.reductions.stream(), *self.to_host.streams())

    def clipped(self) -> tuple[int, int]:
        """Return the part of the gradients that this rank owns."""
        return self._part(), self.job.training.gradient_bytes

    def norm_axes(self) -> tuple[str, ...]:
        """Return the axes along which ranks own different parts."""
        return ("tp", "pp", "cp", "ep", GROUP)

    def memory(self) -> ReplicaMemory:
        """Return 2 + 2 + 12/N bytes a parameter for stage 1 and 2 + 14/N for stage 2, for Adam in half precision.

        Beside them are the buffers that gradients are reduced in, two if reductions overlap (arXiv 1910.02054,
        section 5; stage_1_and_2.py, ipg_buffer), and what reductions and the step copy (zero_memory.py).
        """
        training, part = self.job.training, self._part()
        state = optimizer_state_bytes_per_parameter(training.optimizer, training.precision)
        gradients = part if self.plan.partitions_gradients else self.elements
        offloaded = self._offloads()
        if offloaded and self.plan.partitions_gradients:
            gradients = 0
        bucket = self._bucket_bytes()
        after_backward = not self.plan.partitions_gradients and not self.plan.overlap_comm
        ranks = gradient_ranks(self.job.mesh)
        if beside_fp32_gradients(training) and not self.plan.partitions_gradients:
            held, copies = training.weight_bytes, bf16_optimizer_copies(training, self.code, ranks)
        else:
            held, copies = 0, () if offloaded else step_copies(training, self.code, part)
        return ReplicaMemory(
            parameters=float(training.weight_bytes * self.elements),
            gradients=float(training.gradient_bytes * gradients + held * self.elements),
            optimizer=0.0 if offloaded else float(state * part),
            buffers=0.0 if after_backward else bucket,
            host=float((state + training.gradient_bytes) * part) if offloaded else 0.0,
            after_backward=(*([(bucket,)] if after_backward and ranks > 1 else []), *copies),
        )

    def _bucket_bytes(self) -> float:
        buckets = self.plan.reduce_bucket_size * (2 if self.plan.overlap_comm else 1)
        return float(self.job.training.gradient_bytes * buckets) if self.plan.contiguous_gradients else 0.0

    def _offloads(self) -> bool:
        return self.plan.offload_optimizer == "cpu"

    def _families(self) -> tuple[Family, ...]:
        return families(self.job, GROUP)

    def _part(self) -> int:
        return sum(family.part(family.elements(self.code)) for family in self._families())

    def _buckets(self, codes: Sequence[StageCode]) -> list[Bucket]:
        """Return the buckets of what ``codes`` hold; their gradients of experts are reduced over fewer ranks.

        A bucket has both, in the order they get ready (average_tensor, ipg_bucket_has_moe_params).
        """
        elements = [count for code in codes for count in code.gradients()]
        of_family = [(each, [c for code in codes for c in each.gradients(code)]) for each in self._families()]
        return [
            Bucket(members[0], tuple((each, sum(counts[i] for i in members)) for each, counts in of_family))
            for members in fill_buckets(elements, self.plan.reduce_bucket_size)
        ]

    def _reducing(self, code: StageCode, name: str) -> Iterator[Instruction]:
        """Yield a backward that reduces a bucket as soon as the next gradient does not fit in."""
        buckets = self._buckets([code])
        full = 0

        def gradient_ready(count: int) -> Iterator[Instruction]:
            nonlocal full
            while full < len(buckets) - 1 and buckets[full + 1].first < count:
                yield from self._reduce(buckets[full], f"bucket {full} of {name}")
                full += 1

        yield from code.backward_by_layer(gradient_ready)
        for number in range(full, len(buckets)):
            yield from self._reduce(buckets[number], f"bucket {number} of {name}")

    def _reduce(self, bucket: Bucket, name: str) -> Iterator[Instruction]:
        """Yield a reduction, which the compute stream waits for unless reductions overlap.

        With ``overlap_comm`` it waits for the reduction before (average_tensor: both streams wait for each other).
        """
        size = float(self.job.training.gradient_bytes)
        if self.plan.contiguous_gradients:
            nbytes = size * sum(elements for _, elements in bucket.parts)
            yield copy("gradients into a bucket", nbytes, nbytes)
        collectives = [
            Collective(name, self._collective_kind(), family.group, size * elements)
            for family, elements in bucket.parts
            if elements and family.ranks > 1
        ]
        before, self._reduced = self._reduced, f"{name} reduced"
        if not self.plan.overlap_comm:
            yield from collectives
            if self._offloads():
                yield Record(self._reduced)
        else:
            if before is not None:
                yield Wait(before)
            yield Record(name)
            self.reductions.instructions += [Wait(name), *collectives, Record(self._reduced)]
        if self._offloads():
            self.to_host.copy(sum(size * elements / family.ranks for family, elements in bucket.parts), self._reduced)

    def _collective_kind(self) -> CollectiveKind:
        scattered = self.plan.reduce_scatter and not self.plan.use_multi_rank_bucket_allreduce
        return CollectiveKind.REDUCE_SCATTER if scattered else CollectiveKind.ALL_REDUCE


_SOURCES = (
    "microsoft/DeepSpeed v0.16.4, deepspeed/runtime/zero/stage_1_and_2.py and config.py",
    "Rajbhandari et al., ZeRO, arXiv 1910.02054",
)
_LEAVES_OUT = (
    "DeepSpeed 0.16 reduces with use_multi_rank_bucket_allreduce unless told otherwise, which moves 3 instead of 2 "
    "bytes a parameter byte; here the default is the ZeRO paper's volume, and the option is one line.",
    "round_robin_gradients.",
)
_SPREAD = (
    "With cp, parts lie on the ranks that share sequences too (DeepSpeed-Ulysses); with ep, those of experts lie on "
    "the ranks that hold the same ones, and a bucket is reduced over both (DeepSpeed-MoE)."
)
_OFFLOAD = (
    "offload_optimizer: cpu (ZeRO-Offload): reduced gradients copied to the host, Adam there at the rank's share of "
    "memory bandwidth, updated parameters copied back."
)
STAGE_1 = Strategy(
    name="zero1",
    system="DeepSpeed ZeRO stage 1",
    meaning="the optimizer's state in parts: gradients are reduce-scattered, updated parameters all-gathered",
    models=(
        "Gradients summed locally over micro-batches and reduced after the last, in buckets of 5e8 elements, while "
        "compute waits; with overlap_comm during the last backward.",
        "All-gather of all updated parameters after the step, in pieces of allgather_bucket_size.",
        _SPREAD,
        _OFFLOAD,
    ),
    leaves_out=_LEAVES_OUT,
    sources=_SOURCES,
)
STAGE_2 = Strategy(
    name="zero2",
    system="DeepSpeed ZeRO stage 2",
    meaning="the optimizer's state and the gradients in parts",
    models=(
        "Gradients reduced in every backward, in buckets of 5e8 elements, while compute waits; with overlap_comm on a "
        "stream of their own, each after the one before.",
        "All-gather of all updated parameters after the step, in pieces of allgather_bucket_size.",
        _SPREAD,
        _OFFLOAD,
    ),
    leaves_out=_LEAVES_OUT,
    sources=_SOURCES,
)
ZERO_1: Final = Kind(STAGE_1, Zero1Plan(), ZeroReplica, combines=ALL, framework=PYTORCH, alone=True)
ZERO_2: Final = Kind(
    STAGE_2,
    Zero2Plan(),
    ZeroReplica,
    combines=("tp", "cp", "ep"),
    instead="zero1",
    framework=PYTORCH,
    accumulates=False,
)
