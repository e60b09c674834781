"""A cluster as tables: facts in one column, links by kind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from simdml.cluster.cluster import Cluster, NodeGroup
from simdml.cluster.links import Link
from simdml.units import format_bandwidth, format_bytes, format_flops, format_time

_DIGITS = re.compile(r"\d+")
_BITS = ("nic", "leaf", "spine")


@dataclass(frozen=True, slots=True)
class LinkRow:
    """``count`` physical links alike; ``capacity_bytes_per_s`` (payload) and ``latency_s`` are of one direction."""

    kind: str
    between: str
    count: int
    capacity_bytes_per_s: float
    latency_s: float

    def cells(self) -> tuple[str, str, str, str, str]:
        """Return the row as text."""
        rate = format_bandwidth(self.capacity_bytes_per_s)
        if self.kind in _BITS:
            rate += f" ({format_bandwidth(self.capacity_bytes_per_s, network=True)})"
        return self.kind, self.between, f"{self.count:,}", rate, format_time(self.latency_s)


LINK_COLUMNS = ("kind", "between", "links", "payload, one direction", "latency")


def link_rows(cluster: Cluster) -> list[LinkRow]:
    """Return the cluster's links, those that differ in nothing but their place counted together."""
    rows: Counter[tuple[str, str, float, float]] = Counter()
    for group in cluster.node_groups:
        for link in group.template.links[::2]:
            rows[_like(link)] += group.num_nodes
    for link in _network_links(cluster):
        rows[_like(link)] += 1
    return [LinkRow(kind, ends, count, rate, late) for (kind, ends, rate, late), count in rows.items()]


def fact_rows(cluster: Cluster) -> list[tuple[str, str]]:
    """Return what one wants to know of a cluster first, as (what, value)."""
    rows = [("cluster", cluster.name), ("description", cluster.description)]
    rows += [("nodes", f"{cluster.num_nodes:,}"), ("GPUs", f"{cluster.num_gpus:,}")]
    for group in _kinds(cluster.node_groups):
        label = f"{group.name}: " if len(cluster.node_groups) > 1 else ""
        rows += [(f"{label}{what}", value) for what, value in _node_facts(group)]
    if cluster.transport is not None and cluster.network is not None:
        transport = cluster.transport
        rows.append(("transport", f"{transport.name}, {format_time(transport.latency_s)} one way"))
        rows.append(("GPUDirect", "yes" if transport.gpudirect else "no, staged in host memory"))
        if transport.sharp:
            rows.append(("switches", "can sum what passes them (SHARP)"))
    rows.append(("bisection", format_bandwidth(bisection_bytes_per_s(cluster))))
    rows.append(("directed links", f"{cluster.links.num_links:,}"))
    return rows


def bisection_bytes_per_s(cluster: Cluster) -> float:
    """Return the payload rate from the first half of the nodes with GPUs to the second, in one direction.

    With one such node it is from the first half of its GPUs to the second. The maximum flow over NICs and network;
    inside a node, over NVLink where there is any, else over PCIe and sockets.
    """
    if cluster.num_gpus < 2:
        return 0.0
    flow = _network_flow(cluster) if cluster.num_gpus > len(cluster.gpus_of(cluster.node_of(0))) else None
    return _maximum_flow(flow or _node_flow(cluster))


Edge = tuple[str, str, float]


def _node_flow(cluster: Cluster) -> list[Edge]:
    gpus = cluster.gpus_of(cluster.node_of(0))
    half = len(gpus) // 2
    block = cluster.node_groups[0]
    if block.template.links:
        nvlink = block.template.nvlink_bytes_per_s > 0
        counted = [link for link in block.template.links if link.kind == "nvlink" or not (nvlink or link.kind == "nic")]
        links = [(link.source, link.destination, link.capacity_bytes_per_s) for link in counted]
        names = [f"gpu{local}" for local in range(len(gpus))]
    else:
        links = [(*cluster.links.ends(i), _capacity(cluster, i)) for i in range(cluster.links.num_links)]
        names = [cluster.links.ends(cluster.gpu_port_links(gpu)[0])[0] for gpu in gpus]
    edges = [edge for edge in links if edge[0] not in names[half:] and edge[1] not in names[:half]]
    edges += [("from", name, float("inf")) for name in names[:half]]
    return edges + [(name, "to", float("inf")) for name in names[half:]]


def _network_flow(cluster: Cluster) -> list[Edge]:
    """Sources and sinks are the NICs, added up where they are attached."""
    nodes = [node for group in cluster.node_groups if group.template.gpus for node in _nodes_of(group)]
    half = len(nodes) // 2
    rates: Counter[tuple[str, str]] = Counter()
    for position, node in enumerate(nodes):
        for nic in range(len(cluster.template(node).nics)):
            out = cluster.nic_links(node, nic)[0]
            attached = cluster.links.ends(out)[1]
            ends = ("from", attached) if position < half else (attached, "to")
            rates[ends] += _capacity(cluster, out)  # type: ignore[assignment]
    edges = [(source, target, float(rate)) for (source, target), rate in rates.items()]
    return edges + [
        (end[0], end[1], link.capacity_bytes_per_s)
        for link in _network_links(cluster)
        for end in ((link.source, link.destination), (link.destination, link.source))
    ]


def _maximum_flow(edges: Iterable[Edge]) -> float:
    import networkx

    graph: networkx.DiGraph[str] = networkx.DiGraph()
    graph.add_nodes_from(("from", "to"))
    for source, target, rate in edges:
        if rate == float("inf"):
            graph.add_edge(source, target)
        else:
            graph.add_edge(source, target, capacity=rate)
    return float(networkx.maximum_flow_value(graph, "from", "to"))


def _network_links(cluster: Cluster) -> Iterator[Link]:
    """Yield one direction of each link outside the templates."""
    inside = sum(group.num_nodes * len(group.template.links) for group in cluster.node_groups)
    for link in range(inside, cluster.links.num_links, 2):
        source, destination = cluster.links.ends(link)
        latency = float(cluster.links.latency_s[link])
        yield Link(source, destination, cluster.links.kind(link), _capacity(cluster, link), latency)


def _capacity(cluster: Cluster, link: int) -> float:
    return float(cluster.links.capacity_bytes_per_s[link])


def _like(link: Link) -> tuple[str, str, float, float]:
    ends = [_DIGITS.sub("", end) or "network" for end in (link.source, link.destination)]
    return link.kind, " - ".join(ends), link.capacity_bytes_per_s, link.latency_s


def _nodes_of(group: NodeGroup) -> range:
    return range(group.first_node, group.first_node + group.num_nodes)


def _kinds(groups: Iterable[NodeGroup]) -> list[NodeGroup]:
    """Return the first group of every kind of node."""
    found: list[NodeGroup] = []
    for group in groups:
        if group.template not in [other.template for other in found]:
            found.append(group)
    return found


def _node_facts(group: NodeGroup) -> Iterator[tuple[str, str]]:
    template = group.template
    if template.device is not None:
        device = template.device
        peaks = [(name, device.peak_flops[name]) for name in ("bf16", "fp16", "fp32") if name in device.peak_flops]
        speed = f"{format_flops(peaks[0][1])} {peaks[0][0]}"
        yield "GPU", f"{template.gpus} x {device.name}: {speed}, {format_bytes(device.memory_bytes)}"
        yield "GPU fabric", _fabric(group)
    if template.nics:
        nic = template.nics[0]
        rate = format_bandwidth(nic.rate_bytes_per_s, network=True)
        per_gpu = sum(n.payload_bytes_per_s for n in template.nics) / (template.gpus or 1)
        shared = f", {format_bandwidth(per_gpu)} a GPU" if template.gpus else ""
        yield "NICs", f"{len(template.nics)} x {rate}, {nic.efficiency:.3g} of it payload{shared}"
    if template.links:
        cpu = template.cpu
        yield "CPU", f"{cpu.sockets} x {cpu.generation} ({cpu.vendor}), {cpu.cores} cores"


def _fabric(group: NodeGroup) -> str:
    template = group.template
    if template.nvlink_bytes_per_s:
        return f"{template.fabric}, {format_bandwidth(template.nvlink_bytes_per_s)} a GPU in one direction"
    switches = f", {template.pcie.switches} switches" if template.pcie.switches else ""
    return f"PCIe gen{template.pcie.generation} x{template.pcie.width}{switches}"
