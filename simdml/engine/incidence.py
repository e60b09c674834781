"""Who takes part in which flow and which links it loads, as arrays: the graph that folding works on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from simdml.engine.flows import FlowTable

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Membership:
    """Ranks (columns) of flows (rows) numbered from ``first``; no rank stands twice in a column.

    Without ``ordered`` members are alike, and no rank stands twice at all.
    """

    first: int
    ranks: Integers
    ordered: bool


@dataclass(frozen=True, slots=True)
class Block:
    """Links (columns, numbered among the used ones) of flows (rows); ``weights`` are those of the columns."""

    flows: Integers
    links: Integers
    weights: tuple[float, ...]


class Incidence:
    """The graph of ``num_ranks`` ranks, the flows of ``table`` and ``links``, the ids of the links they use."""

    def __init__(self, num_ranks: int, table: FlowTable) -> None:
        self.num_ranks = num_ranks
        self.num_flows = table.num_flows
        self._table = table
        self.memberships = [Membership(f.first, f.members, f.ordered) for f in table.families if len(f.members)]
        loads = [(f.first + a.rows, a.links, a.weights) for f in table.families for a in f.alike if a.weights]
        used = np.zeros(1 + max((int(links.max()) for _, links, _ in loads), default=-1), dtype=np.bool_)
        for _, links, _ in loads:
            used[links] = True
        self.links: Integers = np.flatnonzero(used)
        number = np.cumsum(used) - 1
        self.blocks = [Block(flows, number[links], weights) for flows, links, weights in loads]

    @cached_property
    def weight_numbers(self) -> tuple[list[Integers], int]:
        """Numbers for the weights of every block, equal for equal weights, and how many there are."""
        if not self.blocks:
            return [], 0
        widths = [len(block.weights) for block in self.blocks]
        known, numbers = np.unique(np.concatenate([block.weights for block in self.blocks]), return_inverse=True)
        return np.split(numbers.astype(np.int64), np.cumsum(widths)[:-1]), len(known)

    def flow_kinds(self) -> NDArray[np.uint64]:
        """Return numbers that are equal for flows of one family with equal prices."""
        kinds = np.zeros(self.num_flows, dtype=np.uint64)
        known: dict[object, int] = {}
        for index, family in enumerate(self._table.families):
            prices = zip(*family.prices.values(), strict=True)
            numbers = [known.setdefault((index, each), len(known)) for each in prices]
            rows = slice(family.first, family.first + len(family.members))
            kinds[rows] = np.array(numbers, dtype=np.uint64)[family.alike_of_row]
        return kinds
