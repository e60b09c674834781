"""A node: GPUs, PCIe switches, CPU sockets, memory and NICs as a small graph, and the ways through it.

Vertices are named ``gpu0``, ``port0`` (all NVLinks of GPU 0 where they are wired to other GPUs), ``nvswitch``,
``pcie0`` (a PCIe switch), ``socket0``, ``memory0`` and ``nic0``. PCIe is a forest with a socket at each root and the
sockets connected to each other, so a way is: NVLink where there is one, else up to the common ancestor and down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from simdml.cluster.device import Device
from simdml.cluster.links import Link
from simdml.errors import TopologyError


class Fabric(StrEnum):
    """How the GPUs of a node reach each other."""

    NVSWITCH = "nvswitch"
    CUBE_MESH = "cube_mesh"
    PCIE = "pcie"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Pcie:
    """The GPUs' PCIe links (``generation`` 0: NVLink-C2C instead) and how many switches they hang on."""

    generation: int
    width: int
    switches: int


@dataclass(frozen=True, slots=True)
class Cpu:
    """Host processors of a node: ``cores`` and nominal ``memory_bandwidth_bytes_per_s`` are of the whole node."""

    vendor: str
    generation: str
    sockets: int
    cores: int
    memory_bandwidth_bytes_per_s: float


@dataclass(frozen=True, slots=True)
class Nic:
    """A NIC port: line rate and payload share of it, where it is attached, and the local GPUs that use it.

    ``pcie_switch`` is None for a NIC on a socket.
    """

    rate_bytes_per_s: float
    efficiency: float
    gpus: tuple[int, ...]
    socket: int
    pcie_switch: int | None
    pcie_generation: int
    pcie_width: int

    @property
    def payload_bytes_per_s(self) -> float:
        """What it carries in one direction."""
        return self.rate_bytes_per_s * self.efficiency


def nearest_nics(parents: Mapping[str, str], gpu: int, num_nics: int) -> tuple[int, ...]:
    """Return the NICs on the PCIe switch of local ``gpu``, else those below its socket, else all."""
    above = parents[f"gpu{gpu}"]
    root = parents.get(above, above)
    over = [parents[f"nic{nic}"] for nic in range(num_nics)]
    beside = tuple(nic for nic, parent in enumerate(over) if parent == above and above in parents)
    local = tuple(nic for nic, parent in enumerate(over) if parents.get(parent, parent) == root)
    return beside or local or tuple(range(num_nics))


@dataclass(frozen=True, slots=True)
class NodeTemplate:
    """A kind of node.

    ``nvlink_bytes_per_s`` is the wire rate of a GPU's NVLinks in one direction, 0 without; ``nvlinks`` counts the
    links between directly wired pairs (a < b). ``links`` are directed, both directions side by side; the outer end
    of a NIC is the empty name. ``parents`` is the PCIe forest. ``nic_of_gpu`` is the default NIC of each GPU.
    A node without GPUs has ``device`` None.
    """

    gpus: int
    device: Device | None
    fabric: Fabric
    nvlink_bytes_per_s: float
    nvlinks: Mapping[tuple[int, int], int]
    pcie: Pcie
    nics: tuple[Nic, ...]
    cpu: Cpu
    links: tuple[Link, ...]
    parents: Mapping[str, str]
    nic_of_gpu: tuple[int, ...]
    _index: dict[tuple[str, str], int] = field(init=False, repr=False, compare=False)
    _paths: dict[tuple[str, str], tuple[int, ...]] = field(init=False, repr=False, compare=False)
    _near: tuple[tuple[int, ...], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        index = {(link.source, link.destination): number for number, link in enumerate(self.links)}
        object.__setattr__(self, "_index", index)
        object.__setattr__(self, "_paths", {})
        near = (nearest_nics(self.parents, gpu, len(self.nics)) for gpu in range(self.gpus))
        object.__setattr__(self, "_near", tuple(near))

    def socket_of(self, gpu: int) -> int:
        """Return the socket whose PCIe tree holds local ``gpu``."""
        return self._socket_above(f"gpu{gpu}")

    def switch_of(self, gpu: int) -> int | None:
        """Return the PCIe switch of local ``gpu``, or None for a GPU on a socket."""
        parent = self.parents.get(f"gpu{gpu}", "")
        return int(parent.removeprefix("pcie")) if parent.startswith("pcie") else None

    def affine_nics(self, gpu: int) -> tuple[int, ...]:
        """Return the nearest NICs of local ``gpu``: those of its PCIe switch, else of its socket, else all."""
        return self._near[gpu]

    def nvlinks_between(self, first: int, second: int) -> int:
        """Return how many NVLinks two different GPUs can use between them; all of one GPU's through a switch."""
        if self.fabric is Fabric.NVSWITCH and self.device is not None:
            return self.device.nvlink_links
        return self.nvlinks.get((min(first, second), max(first, second)), 0)

    def path(self, source: str, destination: str) -> tuple[int, ...]:
        """Return the local links from vertex ``source`` to ``destination`` inside the node.

        Raises:
            TopologyError: there is no way.
        """
        found = self._paths.get((source, destination))
        if found is None:
            vertices = self._nvlink_vertices(source, destination) or self._tree_vertices(source, destination)
            found = self._over(vertices)
            self._paths[source, destination] = found
        return found

    def to_nic(self, gpu: int, nic: int, gpudirect: bool) -> tuple[int, ...]:
        """Return the local links from ``gpu`` through ``nic`` to the wire.

        With ``gpudirect`` a GPU on another PCIe switch or socket relays over NVLink through the NIC's own GPU, as
        NCCL's PXN does; without, data is staged in the memory of the GPU's socket.
        """
        key = (f"gpu{gpu}", f"wire{nic}" if gpudirect else f"staged{nic}")
        found = self._paths.get(key)
        if found is None:
            memory = f"memory{self.socket_of(gpu)}"
            relay = self._relay(gpu, nic) if gpudirect else memory
            first = self.path(f"gpu{gpu}", relay) if relay else ()
            found = (*first, *self.path(relay or f"gpu{gpu}", f"nic{nic}"), self.wire(nic))
            self._paths[key] = found
        return found

    def wire(self, nic: int) -> int:
        """Return the local link from ``nic`` to the network."""
        return self._index[f"nic{nic}", ""]

    def port(self, gpu: int) -> int:
        """Return the local link out of ``gpu`` that all its traffic to other GPUs of the node crosses first."""
        for neighbour in ("nvswitch", f"port{gpu}"):
            if (found := self._index.get((f"gpu{gpu}", neighbour))) is not None:
                return found
        return self._index[f"gpu{gpu}", self.parents[f"gpu{gpu}"]]

    def _relay(self, gpu: int, nic: int) -> str | None:
        """Return the GPU through which ``gpu`` uses ``nic``, if it is not near enough itself."""
        if gpu in self.nics[nic].gpus or nic in self.affine_nics(gpu):
            return None
        near = max(self.nics[nic].gpus, key=lambda peer: self.nvlinks_between(gpu, peer), default=None)
        return None if near is None or not self.nvlinks_between(gpu, near) else f"gpu{near}"

    def _nvlink_vertices(self, source: str, destination: str) -> tuple[str, ...]:
        if not (source.startswith("gpu") and destination.startswith("gpu")) or source == destination:
            return ()
        first, second = int(source[3:]), int(destination[3:])
        if not self.nvlinks_between(first, second):
            return ()
        if self.fabric is Fabric.NVSWITCH:
            return (source, "nvswitch", destination)
        return (source, f"port{first}", f"port{second}", destination)

    def _tree_vertices(self, source: str, destination: str) -> tuple[str, ...]:
        up, down = self._ancestors(source), self._ancestors(destination)
        for depth, vertex in enumerate(up):
            if vertex in down:
                return (*up[: depth + 1], *reversed(down[: down.index(vertex)]))
        return (*up, *reversed(down))

    def _ancestors(self, vertex: str) -> tuple[str, ...]:
        chain = [vertex]
        while chain[-1] in self.parents:
            chain.append(self.parents[chain[-1]])
        return tuple(chain)

    def _socket_above(self, vertex: str) -> int:
        return int(self._ancestors(vertex)[-1].removeprefix("socket"))

    def _over(self, vertices: tuple[str, ...]) -> tuple[int, ...]:
        try:
            return tuple(self._index[pair] for pair in pairwise(vertices))
        except KeyError as error:
            before, after = error.args[0]
            message = f"no way from {vertices[0]} to {vertices[-1]} in the node: {before} and {after} are not connected"
            raise TopologyError(message) from None
