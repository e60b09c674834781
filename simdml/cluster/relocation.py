"""Links told by where they are relative to nodes, so that what is known of some nodes holds for others like them.

On a structured cluster every link belongs to a node, or to the leaf or pod above it, and its id is a formula of that
node. Two tuples of nodes *alike* - of the same kinds, at the same distances, below leaves and pods at the same
distances - have the same routes between them, link by link.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simdml.cluster.cluster import Cluster, NodeGroup
from simdml.cluster.feed import Feed, feed_of
from simdml.cluster.network import Network

Integers = NDArray[np.int64]
CLUSTERS_KEPT: Final = 32


@dataclass(frozen=True, slots=True)
class RelativeLinks:
    """Links as ``offset + stride * (node[anchor] // divisor)``, ``anchor`` being a position in a tuple of nodes."""

    anchor: Integers
    divisor: Integers
    stride: Integers
    offset: Integers

    def of(self, nodes: Integers) -> Integers:
        """Return the links of every row of ``nodes``, as rows."""
        return self.offset + self.stride * (nodes[:, self.anchor] // self.divisor)


class Relocation:
    """Places of GPUs and relative links of a structured cluster; links from ``first_network_link`` on are switches'."""

    def __init__(
        self, groups: Sequence[NodeGroup], network: Network | None, first_network_link: int, feed: Feed | None = None
    ) -> None:
        self._groups = tuple(groups)
        self._network = network
        self._feed = feed
        self.first_network_link = first_network_link
        self._first_nodes = np.array([group.first_node for group in groups], dtype=np.int64)
        self._first_links = [group.first_link for group in groups]
        with_gpus = [number for number, group in enumerate(groups) if group.template.gpus]
        self._gpu_groups = np.array(with_gpus, dtype=np.int64)
        self._first_gpus = np.array([groups[number].first_gpu for number in with_gpus], dtype=np.int64)
        self._gpus_per_node = np.array([max(group.template.gpus, 1) for group in groups], dtype=np.int64)

    def locate(self, gpus: Integers) -> tuple[Integers, Integers]:
        """Return the node of every GPU and its place there; both of the shape of ``gpus``."""
        group = self._gpu_groups[np.searchsorted(self._first_gpus, gpus, side="right") - 1]
        first = np.array([each.first_gpu for each in self._groups], dtype=np.int64)
        nodes, local = np.divmod(gpus - first[group], self._gpus_per_node[group])
        return nodes + self._first_nodes[group], local

    def likeness(self, nodes: Integers) -> Integers:
        """Return rows of numbers that are equal where rows of ``nodes`` are alike.

        Two nodes are alike if they are the same or not, below the same leaf or not, and so on; more have to be at equal
        distances.
        """
        columns = [np.searchsorted(self._first_nodes, nodes, side="right") - 1]
        for divisor in (1, *(self._network.divisors if self._network is not None else ())):
            place = nodes // divisor
            distance = place - place[:, :1]
            columns.append(distance != 0 if nodes.shape[1] <= 2 else distance)
        return np.concatenate(columns, axis=1).astype(np.int64)

    @cached_property
    def _spare(self) -> NDArray[np.bool_]:
        """Which of the switches' links carry all that NICs can send."""
        if self._network is None or not self._network.spare_kinds:
            return np.zeros(0, dtype=np.bool_)
        count = len(self._network.arrays()[0])
        return np.array(
            [self._network.kind(link) in self._network.spare_kinds for link in range(count)], dtype=np.bool_
        )

    @property
    def has_spare_links(self) -> bool:
        """Whether there are links that never limit a transfer: switches' that carry all that NICs can send."""
        return bool(self._spare.any())

    def limiting(self, links: Integers) -> NDArray[np.bool_]:
        """Return for each of ``links`` whether it can limit a transfer."""
        kept = np.ones(len(links), dtype=np.bool_)
        between = links >= self.first_network_link
        if self._feed is not None:
            between &= links < self._feed.first
        kept[between] = ~self._spare[links[between] - self.first_network_link]
        return kept

    def relative(self, links: Sequence[int], nodes: Sequence[int]) -> RelativeLinks:
        """Return ``links`` relative to ``nodes``; raises ValueError for a link that belongs to none of them."""
        anchors: dict[int, dict[int, int]] = {}
        rows = []
        for link in links:
            divisor, stride, offset = self._formula(link)
            if divisor not in anchors:
                anchors[divisor] = {node // divisor: anchor for anchor, node in reversed([*enumerate(nodes)])}
            anchor = anchors[divisor].get((link - offset) // stride)
            if anchor is None:
                raise ValueError(f"link {link} belongs to none of the nodes {list(nodes)[:8]}")
            rows.append((anchor, divisor, stride, offset))
        return RelativeLinks(*np.array(rows, dtype=np.int64).reshape(-1, 4).T)

    def _formula(self, link: int) -> tuple[int, int, int]:
        """Return divisor, stride and offset of a link's id."""
        if self._feed is not None and link >= self._feed.first:
            return self._feed.formula(link)
        if link >= self.first_network_link:
            assert self._network is not None
            divisor, stride, offset = self._network.formula(link - self.first_network_link)
            return divisor, stride, offset + self.first_network_link
        group = self._groups[bisect_right(self._first_links, link) - 1]
        stride = len(group.template.links)
        return 1, stride, group.first_link - group.first_node * stride + (link - group.first_link) % stride


@lru_cache(maxsize=CLUSTERS_KEPT)
def relocation_of(cluster: Cluster) -> Relocation | None:
    """Return how links of ``cluster`` are relocated; None where they follow no formula, as in an explicit graph."""
    if cluster.transport is None:
        return None
    inside = sum(group.num_nodes * len(group.template.links) for group in cluster.node_groups)
    return Relocation(cluster.node_groups, cluster.network, inside, feed_of(cluster))


def equal_rows(rows: Integers) -> tuple[Integers, list[int]]:
    """Return for each row the number of the set of equal rows it is in, and each set's first row."""
    if not len(rows):
        return np.zeros(0, dtype=np.int64), []
    if (rows == rows[0]).all():
        return np.zeros(len(rows), dtype=np.int64), [0]
    _, first, sets = np.unique(_row_hashes(rows), return_index=True, return_inverse=True)
    if not np.array_equal(rows, rows[first][sets]):
        _, first, sets = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return sets.reshape(-1).astype(np.int64), first.tolist()


def _row_hashes(rows: Integers) -> NDArray[np.uint64]:
    """Return equal numbers for equal rows; unequal rows share one only by accident."""
    odd = np.random.default_rng(0).integers(1, 2**63, rows.shape[1], dtype=np.uint64) | np.uint64(1)
    with np.errstate(over="ignore"):
        hashes: NDArray[np.uint64] = (rows.astype(np.uint64) * odd).sum(axis=1)
    return hashes
