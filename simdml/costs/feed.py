"""Seconds of loading training data: reading from storage, and decoding on the processors of a node."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final, Literal

from simdml.cluster.cluster import Cluster
from simdml.cluster.feed import feed_of
from simdml.costs.collectives.plan import NOTHING, TransferPlan


@dataclass(frozen=True, slots=True)
class FeedCost:
    """Data flow at the rate of the slowest of what they cross, shared fairly with other ranks.

    That are storage with all nodes and within one, and, decoding, ``worker_bytes_per_s`` (what the workers of one rank
    decode, in bytes as stored) and the processors of the node. A batch is decoded by all workers of a rank together,
    where a loader has each make whole batches in turn: what comes out in the long run is the same.
    """

    cluster: Cluster | None = None
    worker_bytes_per_s: float = inf

    def plan(self, stage: Literal["storage", "decode"], node: int) -> TransferPlan:
        """Return how a rank on ``node`` loads the links of ``stage``."""
        feed = None if self.cluster is None else feed_of(self.cluster)
        if self.cluster is None or feed is None:
            return NOTHING
        links = feed.storage(node) if stage == "storage" else feed.decode(node)
        capacity = self.cluster.links.capacity_bytes_per_s
        rates = [float(capacity[link]) for link in links]
        rate = min([*rates, self.worker_bytes_per_s if stage == "decode" else inf])
        return TransferPlan(stage, "", 0.0, rate, links, (1.0,) * len(links))


UNLIMITED: Final = FeedCost()
"""Data that are there at once."""
