"""Links told by where they are relative to nodes, so that what is known of some nodes holds for others like them.

On a structured cluster every link belongs to a node, or to the leaf or pod above it, and its id is a formula of that
node. Two tuples of nodes *alike* - of the same kinds, at the same distances, below leaves and pods at the same
distances - have the same routes between them, link by link.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simdml.cluster.cluster import Cluster, NodeGroup
from simdml.cluster.network import Network

Integers = NDArray[np.int64]


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
    """Places of GPUs and relative links of a structured cluster."""

    def __init__(self, groups: Sequence[NodeGroup], network: Network | None, first_network_link: int) -> None:
        self._groups = tuple(groups)
        self._network = network
        self._first_network_link = first_network_link
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

    def relative(self, links: Sequence[int], nodes: Sequence[int]) -> RelativeLinks:
        """Return ``links`` relative to ``nodes``; raises ValueError for a link that belongs to none of them."""
        rows = [self._relative(link, nodes) for link in links]
        columns = np.array(rows, dtype=np.int64).reshape(-1, 4).T
        return RelativeLinks(*columns)

    def _relative(self, link: int, nodes: Sequence[int]) -> tuple[int, int, int, int]:
        if link >= self._first_network_link:
            assert self._network is not None
            divisor, stride, offset = self._network.formula(link - self._first_network_link)
            offset += self._first_network_link
        else:
            group = self._groups[bisect_right(self._first_links, link) - 1]
            stride, divisor = len(group.template.links), 1
            offset = group.first_link - group.first_node * stride + (link - group.first_link) % stride
        for anchor, node in enumerate(nodes):
            if offset + stride * (node // divisor) == link:
                return anchor, divisor, stride, offset
        raise ValueError(f"link {link} belongs to none of the nodes {list(nodes)[:8]}")


def relocation_of(cluster: Cluster) -> Relocation | None:
    """Return how links of ``cluster`` are relocated; None where they follow no formula, as in an explicit graph."""
    if cluster.transport is None:
        return None
    inside = sum(group.num_nodes * len(group.template.links) for group in cluster.node_groups)
    return Relocation(cluster.node_groups, cluster.network, inside)
