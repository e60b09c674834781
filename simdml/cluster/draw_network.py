"""The picture of a network: nodes below their leaves, spines and core above; large ones shortened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simdml.cluster.cluster import Cluster
from simdml.cluster.describe import link_rows
from simdml.cluster.drawing import box, elided, legend, line
from simdml.cluster.network import FatTree
from simdml.units import format_bandwidth, format_time

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNITS_SHOWN = 3
NODES_SHOWN = 4
_NODE, _LEAF, _SPINE, _CORE = 0.0, 1.3, 2.5, 3.5


def draw_network(cluster: Cluster, axes: Axes) -> None:
    """Draw the nodes of ``cluster`` and the network above them."""
    network = cluster.network
    top = _draw_tree(cluster, network, axes) if isinstance(network, FatTree) else _draw_switch(cluster, axes)
    axes.set_ylim(-0.55, top + 0.4)
    legend(axes, f"Network: {cluster.num_nodes:,} nodes, {cluster.num_gpus:,} GPUs", _entries(cluster))


def _draw_switch(cluster: Cluster, axes: Axes) -> float:
    shown = elided(range(cluster.num_nodes), 8)
    middle = (len(shown) - 1) * 0.8
    for place, node in enumerate(shown):
        if node is None:
            axes.text(place * 1.6, _NODE, "...", ha="center", va="center", fontsize=14)
            continue
        line(axes, [(place * 1.6, _NODE), (middle, _LEAF)], "nic")
        _node(cluster, axes, place * 1.6, node)
    box(axes, (middle, _LEAF), (max(3.0, middle), 0.4), "network switch", "leaf", 10)
    axes.set_xlim(-1, 2 * middle + 1)
    return _LEAF


def _draw_tree(cluster: Cluster, tree: FatTree, axes: Axes) -> float:
    units = -(-tree.num_nodes // tree.nodes_per_leaf)
    at = 0.0
    spines: dict[int, list[float]] = {}
    for unit in elided(range(units), UNITS_SHOWN):
        if unit is None:
            axes.text(at - 0.1, _LEAF, "...", ha="center", va="center", fontsize=16)
            at += 0.9
            continue
        first = unit * tree.nodes_per_leaf
        members = range(first, min(first + tree.nodes_per_leaf, tree.num_nodes))
        xs, end = _draw_unit(cluster, tree, axes, unit, elided(members, NODES_SHOWN), at)
        spines.setdefault(tree.pod(first), []).extend(xs)
        at = end + 0.5
    if units == 1:
        axes.set_xlim(-1, at - 0.3)
        return _LEAF
    _draw_spines(axes, tree, spines, at - 1.4)
    axes.set_xlim(-1, at - 0.3)
    return _CORE if tree.pod_bytes_per_s else _SPINE


def _draw_unit(
    cluster: Cluster, tree: FatTree, axes: Axes, unit: int, nodes: list[int | None], at: float
) -> tuple[list[float], float]:
    """Draw a leaf and its nodes, or the leaves of a unit's rails; return where the leaves are and where it ends."""
    width = max(len(nodes) * 1.6, (min(tree.rails, 8) * 0.82 if tree.by_rail else 0))
    leaves = [unit * tree.rails + rail for rail in range(tree.rails)] if tree.by_rail else [unit]
    shown = elided(leaves, 8)
    xs: dict[int, float] = {}
    for place, leaf in enumerate(shown):
        x = at - 0.8 + width * (place + 0.5) / len(shown)
        if leaf is None:
            axes.text(x, _LEAF, "...", ha="center", va="center", fontsize=12)
            continue
        xs[leaf] = x
        text = f"rail {leaf % tree.rails}" if tree.by_rail else f"leaf {leaf}"
        box(axes, (x, _LEAF), (0.72 if tree.by_rail else 1.4, 0.36), text, "leaf", 8.5)
    for place, node in enumerate(nodes):
        x = at - 0.8 + width * (place + 0.5) / len(nodes)
        if node is None:
            axes.text(x, _NODE, "...", ha="center", va="center", fontsize=14)
            continue
        for nic in range(len(cluster.template(node).nics)):
            leaf = tree.leaf((node, nic))
            if leaf in xs:
                line(axes, [(x, _NODE), (xs[leaf], _LEAF)], "nic", 0.9 if tree.by_rail else 1.6)
        _node(cluster, axes, x, node)
    return list(xs.values()), at + width


def _draw_spines(axes: Axes, tree: FatTree, spines: dict[int, list[float]], right: float) -> None:
    centres = {pod: sum(xs) / len(xs) for pod, xs in spines.items()}
    for pod, xs in spines.items():
        width = max(2.2, 0.6 * (max(xs) - min(xs)))
        for x in xs:
            line(axes, [(x, _LEAF), (x + (centres[pod] - x) * 0.5, _SPINE)], "leaf", 1.6)
        text = (
            f"spines of pod {pod} ({tree.nodes_per_pod // tree.nodes_per_leaf} leaves)"
            if tree.nodes_per_pod
            else "spines"
        )
        box(axes, (centres[pod], _SPINE), (width, 0.36), text, "spine", 9.5)
    if tree.pod_bytes_per_s:
        middle = right / 2
        for x in centres.values():
            line(axes, [(x, _SPINE), (middle + (x - middle) * 0.4, _CORE)], "spine", 2.6)
        box(axes, (middle, _CORE), (max(3.0, 0.5 * right), 0.36), "core", "core", 10)


def _node(cluster: Cluster, axes: Axes, x: float, node: int) -> None:
    template = cluster.template(node)
    what = f"{template.gpus} GPUs" if template.gpus else f"server, {template.cpu.cores} cores"
    box(axes, (x, _NODE), (1.35, 0.52), f"node {node}\n{what}", "node" if template.gpus else "socket", 8.5)


def _entries(cluster: Cluster) -> list[tuple[str, str, float]]:
    assert cluster.transport is not None
    entries = []
    names = {"nic": f"NIC ({cluster.transport.name})", "leaf": "leaf to spines", "spine": "pod to core"}
    seen: dict[str, set[str]] = {}
    tree = cluster.network
    if isinstance(tree, FatTree) and tree.num_nodes <= tree.nodes_per_leaf:
        # Nodes of one leaf, or of one unit of rails, are drawn without the spines.
        names = {"nic": names["nic"]}
    for row in link_rows(cluster):
        if row.kind in names:
            rate = f"{format_bandwidth(row.capacity_bytes_per_s)}, {format_time(row.latency_s)}"
            if rate not in seen.setdefault(row.kind, set()):
                seen[row.kind].add(rate)
                entries.append((f"{names[row.kind]}: {rate}", row.kind, 2.0))
    return entries
