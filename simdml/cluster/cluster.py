"""A cluster: nodes of one or several kinds, their links, and the route between any two endpoints."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simdml.cluster.device import Device
from simdml.cluster.endpoint import Endpoint
from simdml.cluster.links import LinkTable
from simdml.cluster.network import Network
from simdml.cluster.node import NodeTemplate
from simdml.cluster.transport import Transport
from simdml.errors import TopologyError


@dataclass(frozen=True, slots=True)
class Route:
    """Directed ``links`` in the order they are crossed; ``latency_s`` is the sum of theirs."""

    links: tuple[int, ...]
    latency_s: float


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """``num_nodes`` nodes of one kind with consecutive ids; ``first_link`` is the id of the first node's link 0."""

    name: str
    template: NodeTemplate
    first_node: int
    num_nodes: int
    first_gpu: int
    first_link: int = 0

    @property
    def num_gpus(self) -> int:
        """GPUs of the whole group."""
        return self.num_nodes * self.template.gpus


class Router(Protocol):
    """Finds ways; structured and explicit clusters differ in nothing else."""

    def links_between(self, source: Endpoint, destination: Endpoint, rail: int | None) -> tuple[int, ...]:
        """Return the directed links from ``source`` to ``destination``."""
        ...

    def links_by(self, source: Endpoint, destination: Endpoint, leave: int, enter: int) -> tuple[int, ...]:
        """Return the links between endpoints on two nodes by one NIC of each, where ways can be chosen."""
        ...

    def nic_links(self, node: int, nic: int) -> tuple[int, int]:
        """Return the links out of and into the node through ``nic``."""
        ...

    def gpu_port_links(self, gpu: int) -> tuple[int, int]:
        """Return the links out of and into the GPU."""
        ...


class Layout:
    """Which node, device and place in its node every GPU has, over groups in the order of their ids."""

    def __init__(self, groups: Sequence[NodeGroup]) -> None:
        self.groups = tuple(groups)
        self._first_nodes = [group.first_node for group in self.groups]
        with_gpus = [group for group in self.groups if group.template.gpus]
        self._gpu_groups = with_gpus
        self._first_gpus = [group.first_gpu for group in with_gpus]
        self._located: dict[int, tuple[NodeGroup, int, int]] = {}
        self.num_nodes = sum(group.num_nodes for group in self.groups)
        self.num_gpus = sum(group.num_gpus for group in self.groups)

    def group_of_node(self, node: int) -> NodeGroup:
        """Return the group of ``node``; raises TopologyError where there is none."""
        if not 0 <= node < self.num_nodes:
            raise TopologyError(f"there is no node {node}: the cluster has {self.num_nodes}, from 0")
        return self.groups[bisect_right(self._first_nodes, node) - 1]

    def group_of_gpu(self, gpu: int) -> NodeGroup:
        """Return the group of ``gpu``; raises TopologyError where there is none."""
        if not 0 <= gpu < self.num_gpus:
            raise TopologyError(f"there is no GPU {gpu}: the cluster has {self.num_gpus}, from 0")
        return self._gpu_groups[bisect_right(self._first_gpus, gpu) - 1]

    def device_kinds(self, gpus: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return numbers that are equal for GPUs of one device type."""
        names = [group.template.device.name if group.template.device else "" for group in self._gpu_groups]
        kinds = np.array([names.index(name) for name in names], dtype=np.int64)
        return kinds[np.searchsorted(self._first_gpus, gpus, side="right") - 1]

    def locate(self, gpu: int) -> tuple[NodeGroup, int, int]:
        """Return the group, node and local index of ``gpu``; remembered, as routes ask for them again and again."""
        found = self._located.get(gpu)
        if found is None:
            group = self.group_of_gpu(gpu)
            nodes, local = divmod(gpu - group.first_gpu, group.template.gpus)
            found = self._located[gpu] = group, group.first_node + nodes, local
        return found


class Cluster:
    """Nodes ``0 .. num_nodes - 1`` with GPUs ``0 .. num_gpus - 1``, numbered node by node.

    ``router`` finds the routes. ``network`` is None for a single node and for an explicit graph, ``transport`` for
    the latter.
    """

    def __init__(
        self,
        name: str,
        description: str,
        groups: Sequence[NodeGroup],
        links: LinkTable,
        router: Router,
        network: Network | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._layout = Layout(groups)
        self.router = router
        self.name = name
        self.description = description
        self.num_gpus = self._layout.num_gpus
        self.num_nodes = self._layout.num_nodes
        self.node_groups = self._layout.groups
        self.links = links
        self.network = network
        self.transport = transport

    def __repr__(self) -> str:
        """Return name and size."""
        return f"<Cluster {self.name}: {self.num_nodes} nodes, {self.num_gpus} GPUs, {self.links.num_links} links>"

    def device(self, gpu: int) -> Device:
        """Return what ``gpu`` is; raises TopologyError where there is none."""
        device = self._layout.group_of_gpu(gpu).template.device
        assert device is not None
        return device

    def device_kinds(self, gpus: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return numbers that are equal for GPUs of one device type."""
        return self._layout.device_kinds(gpus)

    def devices(self, gpus: int) -> list[Device]:
        """Return what the first ``gpus`` GPUs are, one a kind of node, in the order of the nodes."""
        used = [group for group in self.node_groups if group.template.gpus and group.first_gpu < gpus]
        return [group.template.device for group in used if group.template.device is not None]

    def node_of(self, gpu: int) -> int:
        """Return the node of ``gpu``; raises TopologyError where there is none."""
        return self._layout.locate(gpu)[1]

    def local_index(self, gpu: int) -> int:
        """Return the number of ``gpu`` in its node; raises TopologyError where there is none."""
        return self._layout.locate(gpu)[2]

    def gpus_of(self, node: int) -> range:
        """Return the GPUs of ``node``, none for a server; raises TopologyError where there is no such node."""
        group = self._layout.group_of_node(node)
        first = group.first_gpu + (node - group.first_node) * group.template.gpus
        return range(first, first + group.template.gpus)

    def template(self, node: int) -> NodeTemplate:
        """Return what kind of node ``node`` is; raises TopologyError where there is none."""
        return self._layout.group_of_node(node).template

    def route(self, source: Endpoint, destination: Endpoint, rail: int | None = None) -> Route:
        """Return the way from ``source`` to ``destination``; between nodes by NIC ``rail`` of both where given.

        Without ``rail`` a GPU leaves and enters its node by its own NIC. On a rail-optimised network a GPU with
        NVLink leaves by the NIC of the destination's rail instead, relayed by the GPU beside it (NCCL's default,
        ``NCCL_P2P_PXN_LEVEL`` 2). A host uses the NIC its peer uses, as far as it has as many, and the memory of
        that NIC's socket. An endpoint to itself crosses nothing; a host to itself, its memory.

        Raises:
            TopologyError: there is no such GPU, node or NIC, or no way.
        """
        links = self.router.links_between(source, destination, rail)
        latency = self.links.latency_s
        return Route(links, float(sum(latency[link] for link in links)))

    def nic_links(self, node: int, nic: int) -> tuple[int, int]:
        """Return the links (out, in) between ``nic`` of ``node`` and the network; raises TopologyError."""
        return self.router.nic_links(node, nic)

    def gpu_port_links(self, gpu: int) -> tuple[int, int]:
        """Return the links (out, in) of all the GPU's NVLinks together, or of its PCIe slot without NVLink."""
        return self.router.gpu_port_links(gpu)
