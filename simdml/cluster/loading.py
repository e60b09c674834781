"""A cluster from a bundled name, a file or a mapping, with changes on top."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from simdml.cluster.cluster import Cluster
from simdml.cluster.device import find_device
from simdml.cluster.links import Link
from simdml.cluster.merging import expand_dotted, merged, without
from simdml.cluster.network import Network, SingleSwitch, build_fat_tree
from simdml.cluster.node import Fabric, NodeTemplate
from simdml.cluster.node_building import CpuPlan, GpuPlan, NicPlan, build_node
from simdml.cluster.schema import ClusterSpec, CpuSpec, GpusSpec, NetworkSpec, NicsSpec, NodeSpec
from simdml.cluster.structured import build_structured, with_gpudirect
from simdml.cluster.transport import TRANSPORTS, Transport, constant_transport
from simdml.documents.document import Document, KeyPath, from_mapping
from simdml.documents.loading import load_document
from simdml.documents.validation import validate
from simdml.errors import DocumentError, TopologyError, did_you_mean, listed, quoted
from simdml.resources import find

NAME = "name"
MOST_NODES = 2**17
"""A million GPUs in nodes of eight: some minutes of building; more is a slip of the pen."""


def load_cluster(
    source: str | os.PathLike[str] | Mapping[str, Any] | Document,
    overrides: Mapping[str, Any] | Document | None = None,
) -> Cluster:
    """Return the cluster that ``source`` names or is, with ``overrides`` merged over it.

    ``source`` is a bundled name, a file, or a mapping. A mapping with ``name`` is changes to the cluster of that
    name: ``{"name": "dgx_a100", "nodes": 192}``. Overrides are mappings like the file's; dotted keys are accepted:
    ``{"network.oversubscription": 2}``.

    Raises:
        UnknownNameError: no such cluster or GPU; the nearest names are listed.
        DocumentError: a file or value that cannot be accepted, with its place.
        TopologyError: a GPU that cannot be reached.

    Clusters never change, so an equal one that was built before is returned again.
    """
    name, document = _document(source)
    if overrides is not None:
        changes = overrides if isinstance(overrides, Document) else from_mapping(overrides, "<overrides>")
        document = merged(document, expand_dotted(changes))
    return _built(_Recipe(name, json.dumps(document.data, sort_keys=True), document))


def load_cluster_document(source: str | os.PathLike[str] | Mapping[str, Any] | Document) -> Document:
    """Return the document of the cluster that ``source`` names or is, its changes merged in; raises as load_cluster."""
    name, document = _document(source)
    return replace(document, name=name)


@dataclass(frozen=True, slots=True)
class _Recipe:
    """A cluster to build; equal ones have the same name and the same ``text``, wherever its parts came from."""

    name: str
    text: str
    document: Document = field(compare=False)


@lru_cache(maxsize=32)
def _built(recipe: _Recipe) -> Cluster:
    return _build(recipe.name, recipe.document)


def _document(source: str | os.PathLike[str] | Mapping[str, Any] | Document) -> tuple[str, Document]:
    if isinstance(source, str | os.PathLike):
        path = find("topologies", source)
        return path.stem, load_document(path)
    document = source if isinstance(source, Document) else from_mapping(source, "<cluster>")
    if NAME not in document.data:
        return Path(document.name).stem.strip("<>"), expand_dotted(document)
    base = document.data[NAME]
    if not isinstance(base, str):
        raise DocumentError("a cluster's name must be text", place=document.place((NAME,)))
    path = find("topologies", document.folder((NAME,)) / base if _is_relative_file(base) else base)
    return path.stem, merged(load_document(path), expand_dotted(without(document, NAME)))


def _is_relative_file(name: str) -> bool:
    return name.startswith(".") and not Path(name).is_absolute()


def _build(name: str, document: Document) -> Cluster:
    spec = validate(document, ClusterSpec)
    if spec.graph is not None:
        return _build_graph(name, spec, document)
    transport = _transport(spec.network)
    kinds = _kinds(name, spec, document, transport)
    total = sum(count for _, count, _ in kinds)
    if total > MOST_NODES:
        place = document.place(("nodes",) if spec.groups is None else ("groups",))
        raise DocumentError(f"{total:,} nodes are more than the {MOST_NODES:,} that can be built", place=place)
    if total > 1:
        _check_network(spec, document, kinds)
    network = _network(spec.network, kinds, transport) if spec.network is not None and total > 1 else None
    return build_structured(name, spec.description, kinds, network, transport)


def _kinds(
    name: str, spec: ClusterSpec, document: Document, transport: Transport
) -> list[tuple[str, int, NodeTemplate]]:
    if spec.groups is not None:
        kinds = [
            (group.name, group.nodes, _node(group.node, document, ("groups", index, "node"), transport))
            for index, group in enumerate(spec.groups)
        ]
        model = spec.groups[0].node
    else:
        assert spec.node is not None
        model = spec.node
        kinds = [(name, spec.nodes, _node(model, document, ("node",), transport))]
    if not any(template.gpus for _, _, template in kinds):
        raise DocumentError("no node of the cluster has a GPU", place=document.place(("node", "gpus")))
    if spec.servers is not None:
        cpu = spec.servers.cpu or model.cpu
        if spec.servers.cores is not None:
            cpu = cpu.model_copy(update={"cores": spec.servers.cores})
        node = NodeSpec(nics=spec.servers.nics or model.nics, cpu=cpu)
        kinds.append(("servers", spec.servers.nodes, _node(node, document, ("servers",), transport)))
    return kinds


def _node(spec: NodeSpec, document: Document, path: KeyPath, transport: Transport) -> NodeTemplate:
    gpus = None if spec.gpus is None else _gpus(spec.gpus, document, (*path, "gpus"))
    nics = None if spec.nics is None else _nics(spec.nics, gpus)
    return build_node(gpus, nics, _cpu(spec.cpu), transport)


def _gpus(spec: GpusSpec, document: Document, path: KeyPath) -> GpuPlan:
    device = find_device(spec.type, document.place((*path, "type")))
    if spec.fabric in ("nvswitch", "cube_mesh") and not device.nvlink_links:
        raise DocumentError(
            f"{device.name} has no NVLink", place=document.place((*path, "fabric")), hint="fabric: pcie"
        )
    if spec.fabric == "cube_mesh" and (spec.count != 8 or device.nvlink_links not in (4, 6)):
        message = "a hybrid cube mesh has eight GPUs with four or six NVLinks each (P100, V100)"
        raise DocumentError(message, place=document.place((*path, "fabric")))
    generation, width = _slot(spec.pcie) if spec.pcie else (device.pcie_generation, 16)
    uplink_generation, uplink_width = _slot(spec.uplink) if spec.uplink else (generation, width)
    return GpuPlan(
        device=device,
        count=spec.count,
        fabric=Fabric(spec.fabric),
        pcie_generation=generation,
        pcie_width=width,
        switches=spec.switches,
        uplink_generation=uplink_generation,
        uplink_width=uplink_width,
        c2c=spec.c2c,
    )


def _nics(spec: NicsSpec, gpus: GpuPlan | None) -> NicPlan:
    generation, width = _slot(spec.pcie) if spec.pcie else (gpus.pcie_generation if gpus else 4, 16)
    shared = gpus is not None and gpus.switches > 0 and spec.count % gpus.switches == 0
    return NicPlan(
        count=spec.count,
        rate_bytes_per_s=spec.rate,
        pcie_generation=generation,
        pcie_width=width,
        attach=spec.attach or ("switch" if shared else "socket"),
        efficiency=spec.efficiency,
    )


def _cpu(spec: CpuSpec) -> CpuPlan:
    return CpuPlan(spec.model, spec.sockets, spec.cores, spec.memory_bandwidth)


def _slot(text: str) -> tuple[int, int]:
    generation, width = text.split()
    return int(generation.removeprefix("gen")), int(width.removeprefix("x"))


def _transport(spec: NetworkSpec | None) -> Transport:
    if spec is None:
        return TRANSPORTS["tcp"]
    if isinstance(spec.efficiency, str):
        named = TRANSPORTS[spec.efficiency]
    else:
        named = constant_transport(spec.efficiency, spec.latency or 0.0)
    latency = named.latency_s if spec.latency is None else spec.latency
    hop = named.hop_latency_s if spec.hop_latency is None else spec.hop_latency
    changed = Transport(named.name, named.efficiency_up_to, latency, hop, named.gpudirect, spec.sharp)
    return with_gpudirect(changed, spec.gpudirect)


def _check_network(spec: ClusterSpec, document: Document, kinds: list[tuple[str, int, NodeTemplate]]) -> None:
    if spec.network is None:
        place = document.key_place(("nodes",))
        raise DocumentError("several nodes need a network", place=place, hint="add network: {kind: switch}")
    for index, (name, _, template) in enumerate(kinds):
        if not template.nics:
            path: KeyPath = ("groups", index, "node") if spec.groups is not None else ("node",)
            raise DocumentError(f"nodes {quoted(name)} have no NIC", place=document.place(path), hint="add nics")


def _network(spec: NetworkSpec, kinds: list[tuple[str, int, NodeTemplate]], transport: Transport) -> Network:
    if spec.kind == "switch":
        return SingleSwitch()
    payloads = []
    for _, count, template in kinds:
        payloads += [tuple(nic.payload_bytes_per_s for nic in template.nics)] * count
    assert spec.nodes_per_leaf is not None
    return build_fat_tree(
        payloads,
        nodes_per_leaf=spec.nodes_per_leaf,
        by_rail=spec.kind == "rail_optimized",
        oversubscription=spec.oversubscription,
        nodes_per_pod=spec.nodes_per_pod or 0 if spec.kind == "clos" else 0,
        core_oversubscription=spec.core_oversubscription,
        hop_latency_s=transport.hop_latency_s,
    )


def _build_graph(name: str, spec: ClusterSpec, document: Document) -> Cluster:
    from simdml.cluster.graph import Vertex, build_graph

    assert spec.graph is not None
    vertices = []
    for label, vertex in spec.graph.vertices.items():
        place = document.place(("graph", "vertices", label, "type"))
        device = find_device(vertex.type, place) if vertex.type else None
        vertices.append(Vertex(label, vertex.kind, vertex.node, device))
    edges: dict[frozenset[str], Link] = {}
    for index, edge in enumerate(spec.graph.edges):
        place = document.place(("graph", "edges", index, "between"))
        for end in edge.between:
            if end not in spec.graph.vertices:
                message = f"unknown vertex {quoted(end)}{did_you_mean(end, spec.graph.vertices)}"
                raise DocumentError(message, place=place, hint=f"vertices: {listed(spec.graph.vertices)}")
        ends = frozenset(edge.between)
        if len(ends) == 1 or ends in edges:
            problem = "an edge joins a vertex to itself" if len(ends) == 1 else "two edges join the same vertices"
            raise DocumentError(problem, place=place, hint="keep one, with the rate of both together")
        edges[ends] = Link(*edge.between, edge.kind, edge.rate, edge.latency)
    try:
        return build_graph(name, spec.description, vertices, list(edges.values()))
    except TopologyError as error:
        error.place = error.place or document.place(("graph",))
        raise
