"""Explicit clusters: any vertices and links, routed with networkx.

The route is the path on which 1 MiB, stored and forwarded at every vertex, arrives first; among equals the one with
fewest links, then the first by the order of the file. GPUs and hosts never forward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simdml.cluster.cluster import Cluster, Layout, NodeGroup
from simdml.cluster.device import Device
from simdml.cluster.endpoint import Endpoint
from simdml.cluster.links import Link, LinkTable, both_ways
from simdml.cluster.node import Cpu, Fabric, Nic, NodeTemplate, Pcie
from simdml.cluster.physical import PROCESSORS
from simdml.errors import TopologyError

if TYPE_CHECKING:
    import networkx

REFERENCE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Vertex:
    """A vertex; ``node`` is None for a switch, ``device`` for all but GPUs."""

    name: str
    kind: str
    node: int | None
    device: Device | None = None


@dataclass(frozen=True, slots=True)
class GraphBlock:
    """All links of an explicit cluster."""

    links: tuple[Link, ...]

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return capacities (bytes/s) and latencies (s)."""
        capacities = np.array([link.capacity_bytes_per_s for link in self.links], dtype=np.float64)
        return capacities, np.array([link.latency_s for link in self.links], dtype=np.float64)

    def kind(self, link: int) -> str:
        """Return the kind of ``link``."""
        return self.links[link].kind

    def ends(self, link: int) -> tuple[str, str]:
        """Return the vertices that ``link`` leaves and enters."""
        return self.links[link].source, self.links[link].destination


class GraphRouter:
    """Shortest paths, found when first asked for."""

    def __init__(self, vertices: Sequence[Vertex], links: Sequence[Link], layout: Layout) -> None:
        self.vertices = tuple(vertex for vertex in vertices if vertex.kind != "port")
        self._vertices = {vertex.name: vertex for vertex in vertices}
        self._links = tuple(links)
        self._layout = layout
        self._ids = {(link.source, link.destination): number for number, link in enumerate(links)}
        ordered = sorted(vertices, key=lambda vertex: -1 if vertex.node is None else vertex.node)
        self._gpus = [vertex.name for vertex in ordered if vertex.kind == "gpu"]
        self._hosts = _by_node(vertices, "host")
        self._nics = _by_node(vertices, "nic")
        self._paths: dict[tuple[str, str], tuple[int, ...]] = {}

    def links_between(self, source: Endpoint, destination: Endpoint, rail: int | None) -> tuple[int, ...]:
        """Return the directed links from ``source`` to ``destination``; raises TopologyError."""
        first, last = self._vertex(source), self._vertex(destination)
        if source == destination and source.kind == "host":
            memory = next(number for (end, _), number in self._ids.items() if end == first)
            return memory, memory ^ 1
        here, there = self._vertices[first].node, self._vertices[last].node
        if rail is None or here == there or here is None or there is None:
            return self._path(first, last)
        stops = [first, self._nic(here, rail), self._nic(there, rail), last]
        return tuple(link for pair in pairwise(stops) for link in self._path(*pair))

    def links_by(self, source: Endpoint, destination: Endpoint, leave: int, enter: int) -> tuple[int, ...]:
        """Return the shortest way, by one NIC where both are the same: a graph has no other."""
        return self.links_between(source, destination, leave if leave == enter else None)

    def nic_links(self, node: int, nic: int) -> tuple[int, int]:
        """Return the links between a NIC and the first vertex outside its node; raises TopologyError."""
        self._layout.group_of_node(node)
        name = self._nic(node, nic)
        outer = (n for a, n in self._ids if a == name and self._vertices[n].node != node)
        neighbour = next(outer, None)
        if neighbour is None:
            raise TopologyError(f"NIC {name} of node {node} has no link out of the node")
        return self._ids[name, neighbour], self._ids[neighbour, name]

    def gpu_port_links(self, gpu: int) -> tuple[int, int]:
        """Return the links of the GPU's port; raises TopologyError."""
        name = self._vertex(Endpoint("gpu", gpu))
        out = next(number for (source, _), number in self._ids.items() if source == name)
        return out, out ^ 1

    def owner(self, name: str) -> str:
        """Return the GPU whose port ``name`` is, or ``name`` itself."""
        return _owner(name)

    def check_reachable(self) -> None:
        """Raise TopologyError naming the first GPU that the first one cannot reach."""
        for name in self._gpus[1:]:
            self._path(self._gpus[0], name)

    def _vertex(self, endpoint: Endpoint) -> str:
        if endpoint.kind == "gpu":
            self._layout.locate(endpoint.index)
            return self._gpus[endpoint.index]
        self._layout.group_of_node(endpoint.index)
        hosts = self._hosts.get(endpoint.index)
        if not hosts:
            raise TopologyError(f"node {endpoint.index} has no host", hint="add a vertex of kind host")
        return hosts[0]

    def _nic(self, node: int, nic: int) -> str:
        nics = self._nics.get(node, [])
        if not 0 <= nic < len(nics):
            raise TopologyError(f"node {node} has no NIC {nic}: it has {len(nics)}", hint="NICs are numbered from 0")
        return nics[nic]

    def _path(self, source: str, destination: str) -> tuple[int, ...]:
        found = self._paths.get((source, destination))
        if found is None:
            found = self._paths[source, destination] = self._shortest(source, destination)
        return found

    @cached_property
    def _graph(self) -> networkx.DiGraph[str]:
        import networkx

        graph: networkx.DiGraph[str] = networkx.DiGraph()
        graph.add_nodes_from(self._vertices)
        for link in self._links:
            seconds = link.latency_s + REFERENCE_BYTES / link.capacity_bytes_per_s
            graph.add_edge(link.source, link.destination, seconds=seconds)
        return graph

    def _shortest(self, source: str, destination: str) -> tuple[int, ...]:
        import networkx

        # Ports of GPUs belong to them: they forward nothing either.
        ends = (source, destination)
        allowed = [n for n, v in self._vertices.items() if v.kind not in ("gpu", "port", "host") or _owner(n) in ends]
        graph = self._graph.subgraph([*allowed, *(name for name in ends if name not in allowed)])
        try:
            vertices = networkx.dijkstra_path(graph, source, destination, weight="seconds")
        except networkx.NetworkXNoPath:
            nodes = [self._vertices[name] for name in (destination, source)]
            names = [f"{v.kind} {v.name} (node {v.node})" for v in nodes]
            raise TopologyError(
                f"{names[0]} cannot be reached from {names[1]}",
                hint="connect them with edges; GPUs and hosts do not forward traffic",
            ) from None
        return tuple(self._ids[pair] for pair in pairwise(vertices))


def _owner(name: str) -> str:
    return name.removesuffix(PORT)


PORT = " port"


def build_graph(name: str, description: str, vertices: Sequence[Vertex], edges: Sequence[Link]) -> Cluster:
    """Return the cluster of ``vertices`` and of ``edges``, each of which stands for both directions.

    GPUs are numbered node by node in the order of ``vertices``. A GPU with several edges gets a port: one link each
    way of their total capacity that all its traffic crosses.

    Raises:
        TopologyError: a GPU cannot be reached, a node number is skipped, or a node has GPUs of two kinds.
    """
    every, links = _with_ports(vertices, edges)
    groups = _groups(vertices, edges)
    router = GraphRouter(every, links, Layout(groups))
    router.check_reachable()
    return Cluster(name, description, groups, LinkTable([GraphBlock(links)]), router)


def _with_ports(vertices: Sequence[Vertex], edges: Sequence[Link]) -> tuple[list[Vertex], tuple[Link, ...]]:
    every, links = list(vertices), list[Link]()
    ported = {}
    for vertex in vertices:
        own = [edge for edge in edges if vertex.name in (edge.source, edge.destination)]
        if vertex.kind == "gpu" and len(own) > 1:
            port = ported[vertex.name] = f"{vertex.name}{PORT}"
            every.append(Vertex(port, "port", vertex.node))
            links += both_ways(vertex.name, port, own[0].kind, sum(edge.capacity_bytes_per_s for edge in own), 0.0)
    for edge in edges:
        source, destination = (ported.get(end, end) for end in (edge.source, edge.destination))
        links += both_ways(source, destination, edge.kind, edge.capacity_bytes_per_s, edge.latency_s)
    return every, tuple(links)


def _groups(vertices: Sequence[Vertex], edges: Sequence[Link]) -> list[NodeGroup]:
    nodes = sorted({vertex.node for vertex in vertices if vertex.node is not None})
    if nodes != list(range(len(nodes))):
        missing = next(number for number in range(len(nodes) + 1) if number not in nodes)
        raise TopologyError(f"there is no node {missing}, and nodes are numbered from 0 without gaps")
    groups: list[NodeGroup] = []
    gpu = 0
    for node in nodes:
        template = _template(node, [vertex for vertex in vertices if vertex.node == node], edges)
        groups.append(NodeGroup(f"node{node}", template, node, 1, gpu))
        gpu += template.gpus
    if not gpu:
        raise TopologyError("the graph has no GPU", hint="add a vertex of kind gpu")
    return groups


def _template(node: int, members: Sequence[Vertex], edges: Sequence[Link]) -> NodeTemplate:
    """Return counts and devices of a node; its links are the cluster's, so it has none of its own."""
    devices = [vertex.device for vertex in members if vertex.device is not None]
    if len({device.name for device in devices}) > 1:
        kinds = ", ".join(sorted({device.name for device in devices}))
        raise TopologyError(f"node {node} has GPUs of several kinds ({kinds})", hint="put each kind on its own node")
    device = devices[0] if devices else None
    gpus = {vertex.name: number for number, vertex in enumerate(v for v in members if v.kind == "gpu")}
    nvlink = [edge for edge in edges if edge.kind == "nvlink" and {edge.source, edge.destination} & set(gpus)]
    pairs = [(gpus[e.source], gpus[e.destination]) for e in nvlink if e.source in gpus and e.destination in gpus]
    fabric = Fabric.CUBE_MESH if pairs else Fabric.NVSWITCH if nvlink else Fabric.PCIE if gpus else Fabric.NONE
    nics = _nics(members, edges, len(gpus))
    processor = PROCESSORS["skylake"]
    return NodeTemplate(
        gpus=len(gpus),
        device=device,
        fabric=fabric,
        nvlink_bytes_per_s=device.nvlink_bytes_per_s if device and nvlink else 0.0,
        nvlinks=MappingProxyType({(min(pair), max(pair)): 1 for pair in pairs}),
        pcie=Pcie(device.pcie_generation if device else 0, 16, 0),
        nics=nics,
        cpu=Cpu(processor.vendor, processor.generation, 1, 1, processor.memory_bytes_per_s),
        links=(),
        parents=MappingProxyType(
            {f"gpu{gpu}": "socket0" for gpu in range(len(gpus))} | {f"nic{nic}": "socket0" for nic in range(len(nics))}
        ),
        nic_of_gpu=tuple(gpu * len(nics) // len(gpus) for gpu in range(len(gpus))) if nics else (),
    )


def _nics(members: Sequence[Vertex], edges: Sequence[Link], gpus: int) -> tuple[Nic, ...]:
    """Return the NICs of a node, whose edges' fastest rate counts as their payload rate."""
    names = [vertex.name for vertex in members if vertex.kind == "nic"]
    inside = {vertex.name for vertex in members}
    found = []
    for number, name in enumerate(names):
        own = [edge for edge in edges if name in (edge.source, edge.destination)]
        outer = [edge for edge in own if not {edge.source, edge.destination} <= inside] or own
        rate = max((edge.capacity_bytes_per_s for edge in outer), default=0.0)
        users = tuple(gpu for gpu in range(gpus) if gpu * len(names) // gpus == number)
        found.append(Nic(rate, 1.0, users, 0, None, 0, 16))
    return tuple(found)


def _by_node(vertices: Sequence[Vertex], kind: str) -> Mapping[int, list[str]]:
    found: dict[int, list[str]] = {}
    for vertex in vertices:
        if vertex.kind == kind and vertex.node is not None:
            found.setdefault(vertex.node, []).append(vertex.name)
    return found
