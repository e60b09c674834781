"""Collectives forced by name, for a whole job, a kind or a group, over a library that chooses for itself otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from simdml.costs.collectives.nccl import NcclCost
from simdml.costs.collectives.nccl_collnet import COLLNET
from simdml.costs.collectives.nccl_forced import ALGORITHMS, KINDS, PROTOCOLS, Allowed
from simdml.costs.collectives.plan import NOTHING, CollectiveCost, CollectiveKind, TransferPlan
from simdml.costs.collectives.steps import STEP_ALGORITHMS, StepAlgorithm
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
    """``algorithms`` and ``protocols`` to choose from by name, all where empty, for one kind or group or all.

    An algorithm that NCCL does not have stands alone. A rule for all kinds is about those that have one of the
    algorithms. ``place`` is where a user wrote it.
    """

    algorithms: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    kind: CollectiveKind | None = None
    group: str = ""
    place: Place | None = None

    @property
    def kinds(self) -> tuple[CollectiveKind, ...]:
        """The kinds of collective that have one of the algorithms."""
        if not self.algorithms:
            return _TUNED
        having = [KINDS[ALGORITHMS[n]] if n in ALGORITHMS else STEP_ALGORITHMS[n].kinds for n in self.algorithms]
        return tuple(kind for kind in CollectiveKind if any(kind in kinds for kinds in having))

    @property
    def by_steps(self) -> StepAlgorithm | None:
        """The algorithm that NCCL does not have, if it is one."""
        return STEP_ALGORITHMS.get(self.algorithms[0]) if self.algorithms else None

    @property
    def allowed(self) -> Allowed:
        """What NCCL may choose from."""
        return Allowed(tuple(ALGORITHMS[n] for n in self.algorithms), tuple(PROTOCOLS[n] for n in self.protocols))

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
        """Whether a rule asks for sums in the network's switches and nothing else."""
        return any(ALGORITHMS.get(rule.algorithms[0]) in COLLNET for rule in self.rules if len(rule.algorithms) == 1)

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
            if rule.by_steps is not None:
                return self.nccl.plan_steps(rule.by_steps, kind, members, payload_bytes)
            return self.nccl.plan_by(kind, members, payload_bytes, rule.allowed)
        except InfeasibleError as error:
            error.place = error.place or rule.place
            raise
