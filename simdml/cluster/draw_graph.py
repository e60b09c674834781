"""The picture of an explicit graph: a column for every node, switches between nodes above."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simdml.cluster.cluster import Cluster
from simdml.cluster.drawing import Point, box, legend, line
from simdml.cluster.graph import GraphRouter, Vertex
from simdml.units import format_bandwidth

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEVELS = {"gpu": 0.0, "switch": 1.4, "host": 2.4, "nic": 2.4}
_TOP = 3.6


def draw_graph(cluster: Cluster, axes: Axes) -> None:
    """Draw every vertex and link of ``cluster``; ports of GPUs are left out."""
    router = cluster.router
    assert isinstance(router, GraphRouter)
    places = _places(router.vertices)
    kinds: dict[str, None] = {}
    for link in range(0, cluster.links.num_links, 2):
        ends = [router.owner(end) for end in cluster.links.ends(link)]
        if ends[0] == ends[1]:
            continue
        start, end = places[ends[0]], places[ends[1]]
        kind = cluster.links.kind(link)
        kinds[kind] = None
        line(axes, [start, end], kind, 3.0 if kind == "nvlink" else 1.8)
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        rate = format_bandwidth(float(cluster.links.capacity_bytes_per_s[link]), network=kind == "nic")
        style = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        axes.text(*middle, rate, fontsize=8.5, ha="center", va="center", bbox=style, zorder=2, color="#445")
    for vertex in router.vertices:
        device = f"\n{vertex.device.name}" if vertex.device else ""
        box(axes, places[vertex.name], (1.5, 0.42), f"{vertex.name}{device}", vertex.kind, 8.5)
    axes.set_xlim(-1, max(x for x, _ in places.values()) + 1)
    axes.set_ylim(-0.5, _TOP + 0.5)
    legend(
        axes,
        f"{cluster.num_nodes:,} nodes, {cluster.num_gpus:,} GPUs",
        [(kind.replace("_", " "), kind, 2.5) for kind in kinds],
    )


def _places(vertices: tuple[Vertex, ...]) -> dict[str, Point]:
    places: dict[str, Point] = {}
    nodes = sorted({vertex.node for vertex in vertices if vertex.node is not None})
    at = 0.0
    for node in nodes:
        rows: dict[float, list[str]] = {}
        for vertex in vertices:
            if vertex.node == node:
                rows.setdefault(_LEVELS[vertex.kind], []).append(vertex.name)
        width = 2.4 * max(map(len, rows.values()))
        for height, names in rows.items():
            for number, name in enumerate(names):
                places[name] = (at + width * (number + 0.5) / len(names) - 1.2, height)
        at += width + 0.6
    outside = [vertex.name for vertex in vertices if vertex.node is None]
    for number, name in enumerate(outside):
        places[name] = ((at - 0.6) * (number + 0.5) / len(outside) - 1.2, _TOP)
    return places
