"""A found node vertex by vertex and link by link."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simdml.cluster.device import Device
from simdml.cluster.importing.found_node import FoundGpu, FoundNic, FoundNode
from simdml.cluster.physical import (
    MEMORY_EFFICIENCY,
    MEMORY_LATENCY_S,
    NVLINK_EFFICIENCY,
    NVLINK_LATENCY_S,
    PCIE_LATENCY_S,
    PROCESSORS,
    SOCKET_EFFICIENCY,
    SOCKET_LATENCY_S,
    pcie_bytes_per_s,
)
from simdml.cluster.transport import TRANSPORTS
from simdml.units import format_bandwidth, format_time, parse_bandwidth

NETWORK, MEMORY = "network", "memory"
_UNSAID_NVLINK = 25e9


def graph_mapping(
    node: FoundNode, device: Device, slot: str, nics: Mapping[str, Any], efficiency: str
) -> dict[str, Any]:
    """Return the mapping with ``graph``; ``slot`` is the GPUs' PCIe link, ``nics`` the regular form's section."""
    vertices: dict[str, dict[str, Any]] = {}
    for index in range(len(node.gpus)):
        vertices[f"gpu{index}"] = {"kind": "gpu", "type": device.name, "node": 0}
    for socket in range(node.sockets):
        vertices[f"socket{socket}"] = {"kind": "switch", "node": 0}
    vertices[MEMORY] = {"kind": "host", "node": 0}
    edges = _nvlink_edges(node, device) + _socket_edges(node)
    devices: list[FoundGpu | FoundNic] = [*node.gpus, *node.nics]
    parent = {found.switch: found.socket for found in devices if found.switch}
    switches = list(parent)
    rate = _pcie_rate(slot)
    for number, switch in enumerate(switches):
        vertices[f"pcie{number}"] = {"kind": "switch", "node": 0}
        edges.append(_edge(f"pcie{number}", f"socket{parent[switch]}", rate, PCIE_LATENCY_S, "pcie"))
    for index, gpu in enumerate(node.gpus):
        above = f"pcie{switches.index(gpu.switch)}" if gpu.switch else f"socket{gpu.socket}"
        edges.append(_edge(f"gpu{index}", above, rate, PCIE_LATENCY_S, "pcie"))
    if nics:
        vertices[NETWORK] = {"kind": "switch"}
    for index, nic in enumerate(node.nics):
        vertices[f"nic{index}"] = {"kind": "nic", "node": 0}
        above = f"pcie{switches.index(nic.switch)}" if nic.switch else f"socket{nic.socket}"
        edges.append(_edge(f"nic{index}", above, _pcie_rate(nics.get("pcie", slot)), PCIE_LATENCY_S, "pcie"))
        line, transport = parse_bandwidth(nics["rate"]), TRANSPORTS[efficiency]
        payload = line * transport.efficiency(line)
        edges.append(_edge(f"nic{index}", NETWORK, payload, transport.latency_s / 2, "nic"))
    description = f"{len(node.gpus)} x {device.name}, links as found"
    return {"description": description, "graph": {"vertices": vertices, "edges": edges}}


def _pcie_rate(slot: str) -> float:
    generation, width = slot.split()
    return pcie_bytes_per_s(int(generation.removeprefix("gen")), int(width.removeprefix("x")))


def _nvlink_edges(node: FoundNode, device: Device) -> list[dict[str, Any]]:
    link = (device.nvlink_link_bytes_per_s or _UNSAID_NVLINK) * NVLINK_EFFICIENCY.get(device.arch, 0.9)
    return [
        _edge(f"gpu{a}", f"gpu{b}", link * count, 2 * NVLINK_LATENCY_S, "nvlink")
        for (a, b), count in sorted(node.nvlinks.items())
    ]


def _socket_edges(node: FoundNode) -> list[dict[str, Any]]:
    processor = PROCESSORS[node.cpu or "skylake"]
    between = processor.socket_bytes_per_s * SOCKET_EFFICIENCY
    edges = [
        _edge(f"socket{a}", f"socket{b}", between, SOCKET_LATENCY_S, "socket")
        for a in range(node.sockets)
        for b in range(a + 1, node.sockets)
    ]
    memory = processor.memory_bytes_per_s * MEMORY_EFFICIENCY
    return [*edges, _edge(MEMORY, "socket0", memory, MEMORY_LATENCY_S, "host_memory")]


def _edge(first: str, second: str, rate: float, latency_s: float, kind: str) -> dict[str, Any]:
    return {
        "between": [first, second],
        "rate": format_bandwidth(rate),
        "latency": format_time(latency_s),
        "kind": kind,
    }
