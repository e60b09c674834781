"""Collectives forced by name, for a whole job, a kind or a group, over a library that chooses for itself otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from simdml.costs.collectives.nccl import NcclCost
from simdml.costs.collectives.nccl_collnet import COLLNET
from simdml.costs.collectives.nccl_forced import ALGORITHMS, KINDS, PROTOCOLS, Allowed
from simdml.costs.collectives.plan import NOTHING, CollectiveCost, CollectiveKind, TransferPlan
from simdml.costs.collectives.steps import STEP_ALGORITHMS
from simdml.errors import InfeasibleError, Place

_TUNED: Final = (
    CollectiveKind.ALL_REDUCE,
    CollectiveKind.ALL_GATHER,
    CollectiveKind.REDUCE_SCATTER,
    CollectiveKind.BROADCAST,
    CollectiveKind.REDUCE,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """An ``algorithm`` and a ``protocol`` by name, either may be left open, for one kind or group or all.

    A rule for all kinds is about those that have the algorithm. ``place`` is where a user wrote it.
    """

    algorithm: str = ""
    protocol: str = ""
    kind: CollectiveKind | None = None
    group: str = ""
    place: Place | None = None

    @property
    def kinds(self) -> tuple[CollectiveKind, ...]:
        """The kinds of collective that have the algorithm."""
        if not self.algorithm:
            return _TUNED
        if self.algorithm in ALGORITHMS:
            return KINDS[ALGORITHMS[self.algorithm]]
        return STEP_ALGORITHMS[self.algorithm].kinds

    def covers(self, kind: CollectiveKind, group: str) -> bool:
        """Whether the rule says something about a collective."""
        mine = kind is self.kind if self.kind is not None else kind in self.kinds
        return mine and self.group in ("", group)


@dataclass(frozen=True, slots=True)
class Forcing:
    """Rules, the most special ones first."""

    rules: tuple[Rule, ...] = ()

    @property
    def sums_in_switches(self) -> bool:
        """Whether a rule asks for sums in the network's switches."""
        return any(ALGORITHMS.get(rule.algorithm) in COLLNET for rule in self.rules)

    def on(self, cost: CollectiveCost, group: str) -> CollectiveCost:
        """Return ``cost`` as ``group`` sees it."""
        if not self.rules or not isinstance(cost, NcclCost):
            return cost
        return ByName(cost, tuple(rule for rule in self.rules if rule.group in ("", group)), group)


UNFORCED: Final = Forcing()


@dataclass(frozen=True, slots=True)
class ByName:
    """NCCL with what ``rules`` force on one group."""

    nccl: NcclCost
    rules: tuple[Rule, ...]
    group: str

    def plan(self, kind: CollectiveKind, members: Sequence[int], payload_bytes: float) -> TransferPlan:
        """Return the plan of the first rule that covers ``kind``, NCCL's own choice where none does.

        Raises:
            InfeasibleError: what is forced cannot be had here, with the reason and what can.
        """
        rule = next((each for each in self.rules if each.covers(kind, self.group)), None)
        if rule is None:
            return self.nccl.plan(kind, members, payload_bytes)
        if len(members) < 2 or payload_bytes <= 0.0:
            return NOTHING
        try:
            if rule.algorithm in STEP_ALGORITHMS:
                return self.nccl.plan_steps(STEP_ALGORITHMS[rule.algorithm], kind, members, payload_bytes)
            allowed = Allowed(ALGORITHMS.get(rule.algorithm), PROTOCOLS.get(rule.protocol))
            return self.nccl.plan_by(kind, members, payload_bytes, allowed)
        except InfeasibleError as error:
            error.place = error.place or rule.place
            raise
