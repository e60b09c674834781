"""Petuum's Bosen: stale synchronous parallel tables of additive updates (Ho et al., NIPS 2013)."""

from __future__ import annotations

from simdml.strategies.parameter_server.systems.system import Limit, System
from simdml.strategies.strategy import Strategy

PETUUM = System(
    Strategy(
        "petuum",
        "Petuum Bosen (LazyTable)",
        "stale synchronous: workers update, servers add; nobody is more than staleness steps ahead of the slowest",
        models=("A pull waits until every worker's update of staleness steps before is in, its own always.",),
        leaves_out=("Rows served from a worker's cache while they are fresh enough; eager pushes to readers (ESSP).",),
        sources=("Ho et al., NIPS 2013", "Dai et al., AAAI 2015"),
        defaults={"consistency": "ssp", "staleness": 1, "placement": "sharded", "update": "worker", "overlap": False},
    ),
    limits={"consistency": Limit(("ssp",), "Petuum's tables are stale synchronous", "parameter_server")},
)
