"""What training data comes through on its way to the GPUs: storage, and the processors that decode, as links.

A cluster does not have them by itself; :func:`with_feed` adds them for a job whose input is modelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simdml.cluster.cluster import Cluster
from simdml.cluster.links import LinkTable

STORAGE: Final = "storage"
DECODE: Final = "decode"
_SHARED, _OF_NODE = 2, 4


@dataclass(frozen=True, slots=True)
class Feed:
    """Links of the storage that all nodes share, of every node's way to it, and of its decoding processors.

    Rates are bytes/s as stored; infinite where nothing limits. Link ids from ``first``: two of the shared storage, then
    four a node; of each pair the first one is used.
    """

    first: int
    shared_bytes_per_s: float
    node_bytes_per_s: float
    decode_bytes_per_s: tuple[float, ...]

    def storage(self, node: int) -> tuple[int, ...]:
        """Return the links from storage to ``node`` that limit."""
        ways = ((self.first, self.shared_bytes_per_s), (self._of(node), self.node_bytes_per_s))
        return tuple(link for link, rate in ways if rate < inf)

    def decode(self, node: int) -> tuple[int, ...]:
        """Return the link that stands for the decoding processors of ``node``, if they limit."""
        return (self._of(node) + 2,) if self.decode_bytes_per_s[node] < inf else ()

    def formula(self, link: int) -> tuple[int, int, int]:
        """Return divisor, stride and offset: the id of ``link`` is ``offset + stride * (node // divisor)``."""
        place = link - self.first - _SHARED
        if place < 0:
            return max(len(self.decode_bytes_per_s), 1), 1, link
        return 1, _OF_NODE, self.first + _SHARED + place % _OF_NODE

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return capacities (bytes/s) and latencies (s)."""
        rates = [self.shared_bytes_per_s] * _SHARED
        for decode in self.decode_bytes_per_s:
            rates += [self.node_bytes_per_s] * 2 + [decode] * 2
        return np.array(rates, dtype=np.float64), np.zeros(len(rates))

    def kind(self, link: int) -> str:
        """Return "storage" or "decode"."""
        return STORAGE if link < _SHARED or (link - _SHARED) % _OF_NODE < 2 else DECODE

    def ends(self, link: int) -> tuple[str, str]:
        """Return for example ("node3.storage", "node3.memory")."""
        if link < _SHARED:
            pair = ("storage", "nodes")
        else:
            node = (link - _SHARED) // _OF_NODE
            pair = (f"node{node}.{self.kind(link)}", f"node{node}.memory")
        return pair if link % 2 == 0 else (pair[1], pair[0])

    def _of(self, node: int) -> int:
        return self.first + _SHARED + _OF_NODE * node


def with_feed(
    cluster: Cluster, *, shared_bytes_per_s: float, node_bytes_per_s: float, decode_bytes_per_s: Sequence[float]
) -> Cluster:
    """Return ``cluster`` with storage and decoders, ``decode_bytes_per_s`` by node, instead of any it has."""
    blocks = [block for block in cluster.links.blocks if not isinstance(block, Feed)]
    first = LinkTable(blocks).num_links
    feed = Feed(first, shared_bytes_per_s, node_bytes_per_s, tuple(decode_bytes_per_s))
    return Cluster(
        cluster.name,
        cluster.description,
        cluster.node_groups,
        LinkTable([*blocks, feed]),
        cluster.router,
        cluster.network,
        cluster.transport,
    )


def feed_of(cluster: Cluster) -> Feed | None:
    """Return the storage and decoding processors of ``cluster``, None if it has none."""
    return next((block for block in cluster.links.blocks if isinstance(block, Feed)), None)
