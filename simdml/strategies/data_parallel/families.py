"""Gradients that the same ranks sum, and so the state that they share: those of experts, and the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simdml.strategies import expert_parallel
from simdml.strategies.data_parallel.units import padded
from simdml.strategies.job import Job, gradient_ranks
from simdml.strategies.stage_code import StageCode


@dataclass(frozen=True, slots=True)
class Family:
    """What ``ranks`` ranks, the members of ``group``, all hold; ``name`` says what it is, empty for what is usual."""

    name: str
    group: str
    ranks: int
    experts: bool = False

    def gradients(self, code: StageCode) -> list[int]:
        """Return the elements of each gradient of ``code``, 0 for one of another family."""
        pairs = zip(code.gradients(), code.of_experts(), strict=True)
        return [count if expert is self.experts else 0 for count, expert in pairs]

    def elements(self, codes: Sequence[StageCode]) -> int:
        """Return the parameters of this family on a rank that holds ``codes``."""
        return sum(sum(self.gradients(code)) for code in codes)

    def part(self, elements: int) -> int:
        """Return the share of one rank in so many elements, padded to equal shares."""
        return padded(elements, self.ranks) // self.ranks


def families(job: Job, group: str) -> tuple[Family, ...]:
    """Return the families of the parameters of ``job``, whose replicas communicate in ``group``.

    Experts lie on ``ep`` of them, so that ranks/ep hold the same ones (Megatron-LM: expert data parallel; DeepSpeed:
    expert_data_parallel_group).
    """
    ranks, ep = gradient_ranks(job.mesh), job.spread.ep
    rest = Family("", group, ranks)
    return (rest,) if ep == 1 else (rest, Family("experts", expert_parallel.GRADIENTS, ranks // ep, experts=True))
