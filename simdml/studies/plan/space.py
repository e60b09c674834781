"""Every legal layout of a model on so many GPUs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import gcd
from typing import Final

from simdml.scenario.degrees import divisors
from simdml.scenario.schema.plan import LayoutsSpec
from simdml.strategies.data_parallel.kind import MEGATRON, PYTORCH
from simdml.strategies.data_parallel.kinds import find_kind
from simdml.strategies.schedules import find_schedule
from simdml.strategies.stages import Balance
from simdml.studies.plan.layout import Layout
from simdml.studies.plan.schedules import order_of
from simdml.workload.catalog import ModelSpec, TransformerSpec

SHARDINGS: Final = ("ddp", "distributed_optimizer", "zero1", "zero2", "zero3", "fsdp2")
SCHEDULES: Final = (
    "1f1b",
    "interleaved_1f1b",
    "zb_h1",
    "zb_h2",
    "interleaved_zero_bubble",
    "zb_v",
    "dual_pipe",
    "dual_pipe_v",
)
RECOMPUTES: Final = ("none", "selective", "full")
FEWEST_TOKENS: Final = 1024
MOST_CHUNKS: Final = 8
BALANCES: Final[tuple[Balance, ...]] = ("blocks", "blocks_and_ends", "flops")


@dataclass(frozen=True, slots=True)
class Space:
    """What layouts of a model are made of: the values of ``asked``, and where it leaves them open every legal one.

    ``sequence`` is the tokens of a sample (None for images), ``flash`` whether attention is fused, ``ring`` whether
    context parallelism deals two parts of a sequence to every rank. ``num_blocks`` and ``repeated`` are the blocks a
    model can be cut between, all and without its ends; 0 repeated where blocks differ.
    """

    model: ModelSpec
    gpus: int
    global_batch: int
    sequence: int | None
    num_blocks: int
    repeated: int
    asked: LayoutsSpec = field(default_factory=LayoutsSpec)
    flash: bool = False
    ring: bool = True
    balance: Balance | None = None
    bulky: bool = True

    def layouts(self) -> Iterator[Layout]:
        """Yield the layouts, simple ones first."""
        for pp in self._pp():
            for tp in self._tp(pp):
                for cp in self._cp(self.gpus // pp // tp):
                    dp = self.gpus // (pp * tp * cp)
                    if self.global_batch % dp == 0:
                        yield from self._of_degrees(tp, cp, pp, dp)

    def _of_degrees(self, tp: int, cp: int, pp: int, dp: int) -> Iterator[Layout]:
        samples = self.global_batch // dp
        parts = product(self._ep(dp), self._shardings(), self._microbatches(samples))
        for ep, sharding, microbatch in parts:
            if not self._combines(sharding, tp, cp, ep, pp, dp):
                continue
            num_microbatches = samples // microbatch
            for schedule, chunks, balance in self._pipelines(pp, num_microbatches):
                for recompute, sequence_parallel in product(self._recomputes(), self._sequence_parallel(tp, cp)):
                    yield Layout(
                        tp, cp, ep, pp, dp, sharding, microbatch, num_microbatches, recompute, sequence_parallel,
                        schedule, chunks, balance, isinstance(self.model, TransformerSpec),
                    )  # fmt: skip

    def _pp(self) -> list[int]:
        return _allowed(self.asked.pp, [pp for pp in divisors(self.gpus) if pp <= self.num_blocks])

    def _tp(self, pp: int) -> list[int]:
        if not isinstance(self.model, TransformerSpec):
            return _allowed(self.asked.tp, [1])
        config = self.model.config
        common = gcd(config.heads, config.kv_heads, config.ffn, self.gpus // pp)
        return _allowed(self.asked.tp, divisors(common))

    def _cp(self, gpus: int) -> list[int]:
        if self.sequence is None or not self.flash:
            return _allowed(self.asked.cp, [1])
        parts = 2 if self.ring else 1
        legal = [cp for cp in divisors(gpus) if cp == 1 or self.sequence % (parts * cp) == 0]
        if self.asked.cp is None:
            legal = [cp for cp in legal if cp == 1 or self.sequence // cp >= FEWEST_TOKENS]
        return _allowed(self.asked.cp, legal)

    def _ep(self, dp: int) -> list[int]:
        experts = self.model.config.num_experts if isinstance(self.model, TransformerSpec) else 0
        return _allowed(self.asked.ep, divisors(gcd(experts, dp)) if experts else [1])

    def _shardings(self) -> Sequence[str]:
        if self.asked.sharding or isinstance(self.model, TransformerSpec):
            return self.asked.sharding or SHARDINGS
        # Megatron-LM trains transformers alone.
        return [sharding for sharding in SHARDINGS if find_kind(sharding).framework != MEGATRON]

    def _microbatches(self, samples: int) -> list[int]:
        return _allowed(self.asked.microbatch, divisors(samples))

    def _recomputes(self) -> Sequence[str]:
        every = self.asked.recompute or RECOMPUTES
        # Without scores to compute again, selective recomputation is none.
        return [each for each in every if each != "selective" or self.bulky or self.asked.recompute]

    def _sequence_parallel(self, tp: int, cp: int) -> list[bool]:
        if tp == 1 or self.sequence is None or self.sequence // cp % tp:
            return [False]
        return list(self.asked.sequence_parallel or (False, True))

    def _combines(self, sharding: str, tp: int, cp: int, ep: int, pp: int, dp: int) -> bool:
        kind = find_kind(sharding)
        degrees = (("tp", tp), ("cp", cp), ("ep", ep), ("pp", pp))
        if dp * cp == 1:
            return sharding == self._shardings()[0]
        if dp == 1 and "dp_shard" in kind.axes:
            return False
        # Megatron-LM pads the vocabulary until tp divides it, others do not.
        if kind.framework == PYTORCH and isinstance(self.model, TransformerSpec) and self.model.config.vocab % tp:
            return False
        return all(size == 1 or axis in kind.combines for axis, size in degrees)

    def _pipelines(self, pp: int, num_microbatches: int) -> Iterator[tuple[str, int, Balance]]:
        if pp == 1:
            yield "", 1, "blocks"
            return
        for schedule in self.asked.schedules or SCHEDULES:
            for chunks in self._chunks(schedule):
                stages = _stages(schedule, pp, chunks)
                balance = self._balance(stages)
                if balance is not None and order_of(schedule, pp, num_microbatches, chunks) is not None:
                    yield schedule, chunks, balance

    def _chunks(self, schedule: str) -> Iterable[int]:
        found = find_schedule(schedule)
        if not found.any_chunks:
            return (found.chunks,)
        return self.asked.chunks or range(2, MOST_CHUNKS + 1)

    def _balance(self, stages: int) -> Balance | None:
        """Return how the model is cut into ``stages``: equally if it can be, which its ends count for if they must."""
        if stages > self.num_blocks:
            return None
        if self.balance is not None:
            return self.balance
        if not self.repeated:
            return "flops"
        if self.repeated % stages == 0:
            return "blocks"
        return "blocks_and_ends" if self.num_blocks % stages == 0 else None


def _allowed(asked: Sequence[int] | None, legal: list[int]) -> list[int]:
    return legal if asked is None else [value for value in legal if value in asked]


def _stages(schedule: str, pp: int, chunks: int) -> int:
    paths = find_schedule(schedule).paths(pp, chunks)
    return len(paths[0])
