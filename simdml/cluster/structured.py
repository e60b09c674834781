"""Clusters of identical nodes on a regular network: link ids and routes by formula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simdml.cluster.cluster import Cluster, Layout, NodeGroup
from simdml.cluster.endpoint import Endpoint
from simdml.cluster.links import LinkBlock, LinkTable
from simdml.cluster.network import Network
from simdml.cluster.node import NodeTemplate
from simdml.cluster.transport import Transport
from simdml.errors import TopologyError


@dataclass(frozen=True, slots=True)
class NodeBlock:
    """The links of a group's nodes, node by node."""

    template: NodeTemplate
    first_node: int
    num_nodes: int
    network: Network | None

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return capacities (bytes/s) and latencies (s)."""
        capacities = np.array([link.capacity_bytes_per_s for link in self.template.links], dtype=np.float64)
        latencies = np.array([link.latency_s for link in self.template.links], dtype=np.float64)
        return np.tile(capacities, self.num_nodes), np.tile(latencies, self.num_nodes)

    def kind(self, link: int) -> str:
        """Return the kind of ``link``."""
        return self.template.links[link % len(self.template.links)].kind

    def ends(self, link: int) -> tuple[str, str]:
        """Return for example ("node3.gpu0", "node3.nvswitch"); a NIC's other end is what it is attached to."""
        nodes, local = divmod(link, len(self.template.links))
        node, found = self.first_node + nodes, self.template.links[local]
        nic = int((found.source or found.destination)[3:]) if found.kind == "nic" else 0
        outer = self.network.attachment((node, nic)) if self.network is not None else "outside"
        source, destination = (f"node{node}.{end}" if end else outer for end in (found.source, found.destination))
        return source, destination


@dataclass(frozen=True, slots=True)
class Exit:
    """One end of a route between nodes: global links from the endpoint to the wire, and the port they end at."""

    links: tuple[int, ...]
    port: tuple[int, int]

    def reversed_links(self) -> tuple[int, ...]:
        """Return the same way inwards."""
        return reverse(self.links)


def reverse(links: Sequence[int]) -> tuple[int, ...]:
    """Return the way back over ``links``."""
    return tuple(link ^ 1 for link in reversed(links))


class StructuredRouter:
    """Routes as a node's way to a NIC, the network's formula, and a NIC's way into the other node."""

    def __init__(self, layout: Layout, network: Network | None, first_network_link: int, gpudirect: bool) -> None:
        self._layout = layout
        self._network = network
        self._first_network_link = first_network_link
        self._gpudirect = gpudirect
        self._exits: dict[tuple[str, int, int], Exit] = {}

    def links_between(self, source: Endpoint, destination: Endpoint, rail: int | None) -> tuple[int, ...]:
        """Return the directed links from ``source`` to ``destination``; raises TopologyError."""
        here, there = self._node(source), self._node(destination)
        if here == there:
            return self._inside(here, source, destination)
        if self._network is None:
            raise TopologyError(
                f"{source} and {destination} are on different nodes and the cluster has no network",
                hint="give the cluster a network",
            )
        return self.links_by(source, destination, *self._nics(source, destination, rail))

    def links_by(self, source: Endpoint, destination: Endpoint, leave: int, enter: int) -> tuple[int, ...]:
        """Return the directed links between endpoints on two nodes, out by NIC ``leave`` and in by ``enter``."""
        assert self._network is not None
        out = self._exit(source, self._node(source), leave)
        into = self._exit(destination, self._node(destination), enter)
        first = self._first_network_link
        between = tuple(first + link for link in self._network.path(out.port, into.port))
        return (*out.links, *between, *into.reversed_links())

    def nic_links(self, node: int, nic: int) -> tuple[int, int]:
        """Return the links out of and into ``node`` through ``nic``; raises TopologyError."""
        template = self._layout.group_of_node(node).template
        self._check_nic(template, node, nic)
        out = self._offset(node) + template.wire(nic)
        return out, out ^ 1

    def gpu_port_links(self, gpu: int) -> tuple[int, int]:
        """Return the links out of and into ``gpu``; raises TopologyError."""
        group, node, local = self._layout.locate(gpu)
        out = self._offset(node) + group.template.port(local)
        return out, out ^ 1

    def _node(self, endpoint: Endpoint) -> int:
        if endpoint.kind == "gpu":
            return self._layout.locate(endpoint.index)[1]
        self._layout.group_of_node(endpoint.index)
        return endpoint.index

    def _local(self, endpoint: Endpoint) -> int:
        return self._layout.locate(endpoint.index)[2]

    def _offset(self, node: int) -> int:
        group = self._layout.group_of_node(node)
        return group.first_link + (node - group.first_node) * len(group.template.links)

    def _inside(self, node: int, source: Endpoint, destination: Endpoint) -> tuple[int, ...]:
        template, first = self._layout.group_of_node(node).template, self._offset(node)
        if source.kind == destination.kind == "host":
            read = template.path("memory0", "socket0")
            return tuple(first + link for link in (*read, *reverse(read)))
        local = self._local(source if source.kind == "gpu" else destination)
        memory = f"memory{template.socket_of(local)}"
        ends = [f"gpu{self._local(end)}" if end.kind == "gpu" else memory for end in (source, destination)]
        return tuple(first + link for link in template.path(*ends))

    def _nics(self, source: Endpoint, destination: Endpoint, rail: int | None) -> tuple[int, int]:
        if rail is not None:
            return rail, rail
        leave, enter = self._own_nic(source), self._own_nic(destination)
        if leave is None or enter is None:
            leave = self._peer_nic(source, enter) if leave is None else leave
            enter = self._peer_nic(destination, leave) if enter is None else enter
        elif leave != enter and self._relays(source, enter):
            leave = enter
        return leave, enter

    def _own_nic(self, endpoint: Endpoint) -> int | None:
        """Return the default NIC of a GPU; a host has none of its own."""
        if endpoint.kind == "host":
            return None
        group, node, local = self._layout.locate(endpoint.index)
        self._check_nic(group.template, node, 0)
        return group.template.nic_of_gpu[local]

    def _peer_nic(self, endpoint: Endpoint, peers: int | None) -> int:
        template = self._layout.group_of_node(endpoint.index).template
        self._check_nic(template, endpoint.index, 0)
        return (peers or 0) % len(template.nics)

    def _relays(self, source: Endpoint, nic: int) -> bool:
        """Tell whether a GPU can use the NIC of another rail over NVLink."""
        if self._network is None or not (self._network.by_rail and self._gpudirect):
            return False
        group, _, local = self._layout.locate(source.index)
        template = group.template
        return nic < len(template.nics) and any(template.nvlinks_between(local, g) for g in template.nics[nic].gpus)

    def _exit(self, endpoint: Endpoint, node: int, nic: int) -> Exit:
        key = endpoint.kind, endpoint.index, nic
        found = self._exits.get(key)
        if found is None:
            found = self._exits[key] = self._new_exit(endpoint, node, nic)
        return found

    def _new_exit(self, endpoint: Endpoint, node: int, nic: int) -> Exit:
        template, first = self._layout.group_of_node(node).template, self._offset(node)
        self._check_nic(template, node, nic)
        if endpoint.kind == "gpu":
            local = template.to_nic(self._local(endpoint), nic, self._gpudirect)
        else:
            local = (*template.path(f"memory{template.nics[nic].socket}", f"nic{nic}"), template.wire(nic))
        return Exit(tuple(first + link for link in local), (node, nic))

    def _check_nic(self, template: NodeTemplate, node: int, nic: int) -> None:
        if not 0 <= nic < len(template.nics):
            count = len(template.nics)
            raise TopologyError(f"node {node} has no NIC {nic}: it has {count}", hint="NICs are numbered from 0")


def build_structured(
    name: str,
    description: str,
    kinds: Sequence[tuple[str, int, NodeTemplate]],
    network: Network | None,
    transport: Transport,
) -> Cluster:
    """Return the cluster of ``kinds`` (group name, number of nodes, template), numbered in that order."""
    groups: list[NodeGroup] = []
    node = gpu = link = 0
    for group_name, count, template in kinds:
        groups.append(NodeGroup(group_name, template, node, count, gpu, link))
        node, gpu, link = node + count, gpu + count * template.gpus, link + count * len(template.links)
    blocks: list[LinkBlock] = [NodeBlock(g.template, g.first_node, g.num_nodes, network) for g in groups]
    if network is not None:
        blocks.append(network)
    router = StructuredRouter(Layout(groups), network, link, transport.gpudirect)
    return Cluster(name, description, groups, LinkTable(blocks), router, network, transport)


def with_gpudirect(transport: Transport, gpudirect: bool | None) -> Transport:
    """Return ``transport``, with GPUDirect switched on or off where asked."""
    return transport if gpudirect is None else replace(transport, gpudirect=gpudirect)
