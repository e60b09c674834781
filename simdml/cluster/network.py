"""The network between nodes: where NICs are attached, and routes between them by formula.

A fat tree has leaf switches below spines. Several spine switches over the same leaves are one vertex here, and the
links of a leaf to all of them one link each way: traffic is assumed to be sprayed evenly. A leaf serves either
``nodes_per_leaf`` nodes with all their NICs, or (``by_rail``) NIC ``r`` of each of ``nodes_per_leaf`` nodes, a
scalable unit. With ``nodes_per_pod`` the spines of a pod reach other pods over a core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Port = tuple[int, int]
"""A node and one of its NICs."""


class Network(Protocol):
    """What joins the nodes; a :class:`~simdml.cluster.links.LinkBlock` too. Link ids start from 0."""

    @property
    def by_rail(self) -> bool:
        """Whether each rail has its own leaf switches."""
        ...

    @property
    def spare_kinds(self) -> frozenset[str]:
        """Kinds of links that carry all that the NICs below them can send, and so never limit a transfer."""
        ...

    @property
    def divisors(self) -> tuple[int, ...]:
        """How many consecutive nodes are below a switch, level by level; their links have ids by formula."""
        ...

    def formula(self, link: int) -> tuple[int, int, int]:
        """Return divisor, stride and offset: the link is ``offset + stride * (node // divisor)`` for nodes below it."""
        ...

    def attachment(self, port: Port) -> str:
        """Return the vertex that the NIC is connected to."""
        ...

    def path(self, source: Port, destination: Port) -> tuple[int, ...]:
        """Return the links between the vertices that two NICs are connected to."""
        ...

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return capacities (bytes/s) and latencies (s)."""
        ...

    def kind(self, link: int) -> str:
        """Return the kind of ``link``."""
        ...

    def ends(self, link: int) -> tuple[str, str]:
        """Return the vertices that ``link`` leaves and enters."""
        ...


@dataclass(frozen=True, slots=True)
class SingleSwitch:
    """One switch that never limits."""

    by_rail: bool = False
    spare_kinds: frozenset[str] = frozenset()
    divisors: tuple[int, ...] = ()

    def formula(self, link: int) -> tuple[int, int, int]:
        """Raise IndexError: there are no links."""
        raise IndexError(link)

    def attachment(self, port: Port) -> str:
        """Return the switch."""
        del port
        return "switch"

    def path(self, source: Port, destination: Port) -> tuple[int, ...]:
        """Return no link: NICs are the only ones."""
        del source, destination
        return ()

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return nothing."""
        return np.zeros(0), np.zeros(0)

    def kind(self, link: int) -> str:
        """Raise IndexError: there are no links."""
        raise IndexError(link)

    def ends(self, link: int) -> tuple[str, str]:
        """Raise IndexError: there are no links."""
        raise IndexError(link)


@dataclass(frozen=True, slots=True)
class FatTree:
    """Leaves and spines, and a core above pods where ``nodes_per_pod`` is not 0.

    ``leaf_bytes_per_s`` and ``pod_bytes_per_s`` are one direction of each leaf's and pod's uplinks together. Link
    ids: ``2 leaf`` up and ``2 leaf + 1`` down, then the same for pods.
    """

    num_nodes: int
    nodes_per_leaf: int
    nodes_per_pod: int
    by_rail: bool
    rails: int
    leaf_bytes_per_s: tuple[float, ...]
    pod_bytes_per_s: tuple[float, ...]
    hop_latency_s: float
    spare_kinds: frozenset[str] = frozenset()

    @property
    def divisors(self) -> tuple[int, ...]:
        """Nodes below a leaf and, with pods, below a pod."""
        return (self.nodes_per_leaf, self.nodes_per_pod) if self.nodes_per_pod else (self.nodes_per_leaf,)

    def formula(self, link: int) -> tuple[int, int, int]:
        """Return divisor, stride and offset of a leaf's or pod's link."""
        leaves = 2 * len(self.leaf_bytes_per_s)
        if link >= leaves:
            return self.nodes_per_pod, 2, leaves + (link - leaves) % 2
        return self.nodes_per_leaf, 2 * self.rails, link % (2 * self.rails)

    def leaf(self, port: Port) -> int:
        """Return the leaf that the NIC is connected to."""
        unit = port[0] // self.nodes_per_leaf
        return unit * self.rails + port[1] if self.by_rail else unit

    def pod(self, node: int) -> int:
        """Return the pod of ``node``; without pods all are in one."""
        return node // self.nodes_per_pod if self.nodes_per_pod else 0

    def attachment(self, port: Port) -> str:
        """Return the leaf, as "leaf3"."""
        return f"leaf{self.leaf(port)}"

    def path(self, source: Port, destination: Port) -> tuple[int, ...]:
        """Return up and down links: none below one leaf, over a spine in a pod, over the core between pods."""
        leaf, other = self.leaf(source), self.leaf(destination)
        if leaf == other:
            return ()
        pod, far = self.pod(source[0]), self.pod(destination[0])
        if pod == far:
            return (2 * leaf, 2 * other + 1)
        pods = 2 * len(self.leaf_bytes_per_s)
        return (2 * leaf, pods + 2 * pod, pods + 2 * far + 1, 2 * other + 1)

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return capacities (bytes/s) and latencies (s): each link leads to one more switch, which is one hop."""
        capacities = np.repeat(np.array([*self.leaf_bytes_per_s, *self.pod_bytes_per_s], dtype=np.float64), 2)
        return capacities, np.full(len(capacities), self.hop_latency_s)

    def kind(self, link: int) -> str:
        """Return "leaf" or "spine"."""
        return "leaf" if link < 2 * len(self.leaf_bytes_per_s) else "spine"

    def ends(self, link: int) -> tuple[str, str]:
        """Return for example ("leaf3", "spine0") or ("core", "spine1")."""
        leaves = len(self.leaf_bytes_per_s)
        if link < 2 * leaves:
            leaf = link // 2
            unit = leaf // self.rails if self.by_rail else leaf
            pair = (f"leaf{leaf}", f"spine{self.pod(unit * self.nodes_per_leaf)}")
        else:
            pair = (f"spine{(link - 2 * leaves) // 2}", "core")
        return pair if link % 2 == 0 else (pair[1], pair[0])


def build_fat_tree(
    nic_payloads: Sequence[Sequence[float]],
    *,
    nodes_per_leaf: int,
    by_rail: bool,
    oversubscription: float,
    nodes_per_pod: int = 0,
    core_oversubscription: float = 1.0,
    hop_latency_s: float,
) -> FatTree:
    """Return the fat tree over nodes whose NICs carry ``nic_payloads[node][nic]`` bytes/s.

    A leaf's uplinks are built for ``nodes_per_leaf`` nodes like those it has, divided by ``oversubscription``; a
    pod's are the leaves' it would have when full, divided by ``core_oversubscription``.
    """
    nodes = len(nic_payloads)
    rails = max((len(nics) for nics in nic_payloads), default=1) if by_rail else 1
    leaves = []
    for first in range(0, nodes, nodes_per_leaf):
        members = nic_payloads[first : first + nodes_per_leaf]
        if by_rail:
            leaves += [_mean([nics[rail] for nics in members if rail < len(nics)]) for rail in range(rails)]
        else:
            leaves.append(_mean([sum(nics) for nics in members]))
    # A rail that no node of the unit has gets a leaf all the same, so that ids stay a formula.
    largest = max(leaves)
    leaves = [nodes_per_leaf * (mean or largest) / oversubscription for mean in leaves]
    pods = []
    full = nodes_per_pod // nodes_per_leaf * rails if nodes_per_pod else 0
    for start in range(0, len(leaves) if full else 0, full or 1):
        below = leaves[start : start + full]
        pods.append(_mean(below) * full / core_oversubscription)
    return FatTree(
        num_nodes=nodes,
        nodes_per_leaf=nodes_per_leaf,
        nodes_per_pod=nodes_per_pod,
        by_rail=by_rail,
        rails=rails,
        leaf_bytes_per_s=tuple(leaves),
        pod_bytes_per_s=tuple(pods),
        hop_latency_s=hop_latency_s,
        spare_kinds=frozenset(
            kind for kind, ratio in (("leaf", oversubscription), ("spine", core_oversubscription)) if ratio <= 1.0
        ),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
