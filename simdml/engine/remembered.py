"""Flow tables and partitions of jobs that were simulated before.

A job that is simulated again, or differs from one before in its kernels alone, has the same transfers at the same
prices, and the same ranks are alike. Very large jobs are not remembered: their tables take hundreds of megabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, TypeVar

from simdml.cluster.cluster import Cluster
from simdml.costs.collectives.by_name import Forcing
from simdml.costs.collectives.plan import CollectiveCost
from simdml.costs.feed import FeedCost
from simdml.costs.messages import MessageCost
from simdml.costs.model import CostModel
from simdml.engine.conditions import Conditions
from simdml.engine.flows import FlowTable, flow_table
from simdml.engine.folding import Partition, fold
from simdml.program.program import Program

Key = TypeVar("Key", int, str)
Value = TypeVar("Value")

RANKS_REMEMBERED: Final = 2**15
TABLES_KEPT: Final = 16
"""Of 5 MB each for 16,384 GPUs."""


@dataclass(frozen=True, slots=True)
class _Transfers:
    """All that a flow table depends on; ``costs`` is what has these prices."""

    program: Program
    cluster: Cluster
    collectives: CollectiveCost
    messages: MessageCost
    transports: tuple[tuple[str, CollectiveCost], ...]
    forced: Forcing
    feed: FeedCost
    costs: CostModel = field(compare=False)


@dataclass(frozen=True, slots=True)
class _Symmetry:
    """All that a partition depends on, besides the transfers."""

    transfers: _Transfers
    slow_gpus: tuple[tuple[int, float], ...]
    link_bytes_per_s: tuple[tuple[int, float], ...]
    jitters: bool
    wanted: bool
    conditions: Conditions = field(compare=False)


def transfers_and_classes(
    program: Program, cluster: Cluster, costs: CostModel, conditions: Conditions, *, folded: bool
) -> tuple[FlowTable, Partition]:
    """Return the flow table and the partition of a job; the same objects for a job that was seen before."""
    transfers = _Transfers(
        program,
        cluster,
        costs.collectives,
        costs.messages,
        _items(costs.transports),
        costs.forced,
        costs.feed,
        costs,
    )
    if program.mesh.num_ranks > RANKS_REMEMBERED:
        table = flow_table(program, cluster, costs)
        return table, fold(program, cluster, table, conditions, wanted=folded)
    symmetry = _Symmetry(
        transfers,
        _items(conditions.slow_gpus),
        _items(conditions.link_bytes_per_s),
        conditions.jitter_cv > 0,
        folded,
        conditions,
    )
    return _table(transfers), _partition(symmetry)


def _items(mapping: Mapping[Key, Value]) -> tuple[tuple[Key, Value], ...]:
    return tuple((key, mapping[key]) for key in sorted(mapping))


@lru_cache(maxsize=TABLES_KEPT)
def _table(transfers: _Transfers) -> FlowTable:
    return flow_table(transfers.program, transfers.cluster, transfers.costs)


@lru_cache(maxsize=TABLES_KEPT)
def _partition(symmetry: _Symmetry) -> Partition:
    transfers = symmetry.transfers
    table = _table(transfers)
    return fold(transfers.program, transfers.cluster, table, symmetry.conditions, wanted=symmetry.wanted)
