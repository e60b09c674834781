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
    over_network: bool = False

    def plan(self, stage: Literal["storage", "decode"], node: int) -> TransferPlan:
        """Return how a rank on ``node`` loads the links of ``stage``."""
        feed = None if self.cluster is None else feed_of(self.cluster)
        if self.cluster is None or feed is None:
            return NOTHING
        links = dict.fromkeys(feed.storage(node) if stage == "storage" else feed.decode(node), 1.0)
        if stage == "storage" and self.over_network:
            nics = len(self.cluster.template(node).nics)
            links |= {self.cluster.nic_links(node, nic)[1]: 1 / nics for nic in range(nics)}
        capacity = self.cluster.links.capacity_bytes_per_s
        rates = [float(capacity[link]) / weight for link, weight in links.items()]
        rate = min([*rates, self.worker_bytes_per_s if stage == "decode" else inf])
        return TransferPlan(stage, "", 0.0, rate, tuple(links), tuple(links.values()))


UNLIMITED: Final = FeedCost()
"""Data that are there at once."""
