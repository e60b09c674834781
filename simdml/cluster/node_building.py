"""A node template from what a person knows about a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from simdml.cluster.device import Device
from simdml.cluster.links import Link, both_ways
from simdml.cluster.node import Cpu, Fabric, Nic, NodeTemplate, Pcie, nearest_nics
from simdml.cluster.physical import (
    C2C_BYTES_PER_S,
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
from simdml.cluster.transport import Transport

# The hybrid cube mesh of DGX-1, NVLinks of each wired pair (nvidia-smi topo -m on such machines). With four links a
# GPU (P100) each of the 16 pairs has one; with six (V100) half of them have two.
_DOUBLED = {(0, 3), (0, 4), (1, 2), (1, 5), (2, 3), (4, 7), (5, 6), (6, 7)}
_SINGLE = {(0, 1), (0, 2), (1, 3), (2, 6), (3, 7), (4, 5), (4, 6), (5, 7)}


@dataclass(frozen=True, slots=True)
class GpuPlan:
    """GPUs of a node; ``switches`` PCIe switches share them evenly, each with an uplink of its own.

    ``c2c`` connects GPUs to CPUs by NVLink-C2C instead of PCIe.
    """

    device: Device
    count: int
    fabric: Fabric
    pcie_generation: int
    pcie_width: int
    switches: int
    uplink_generation: int
    uplink_width: int
    c2c: bool = False


@dataclass(frozen=True, slots=True)
class NicPlan:
    """NICs of a node, spread evenly over PCIe switches or sockets; ``efficiency`` None is the transport's."""

    count: int
    rate_bytes_per_s: float
    pcie_generation: int
    pcie_width: int
    attach: Literal["switch", "socket"]
    efficiency: float | None = None


@dataclass(frozen=True, slots=True)
class CpuPlan:
    """Host processors; ``memory_bandwidth_bytes_per_s`` (of the node) None is the processor's."""

    generation: str
    sockets: int
    cores: int
    memory_bandwidth_bytes_per_s: float | None = None


def cube_mesh(links_per_gpu: int) -> Mapping[tuple[int, int], int]:
    """Return the NVLinks of each wired pair of eight GPUs with four or six links each."""
    doubled = 2 if links_per_gpu == 6 else 1
    pairs = {**dict.fromkeys(_DOUBLED, doubled), **dict.fromkeys(_SINGLE, 1)}
    return MappingProxyType(dict(sorted(pairs.items())))


def build_node(gpus: GpuPlan | None, nics: NicPlan | None, cpu: CpuPlan, transport: Transport) -> NodeTemplate:
    """Return the template of a node with those parts; ``transport`` is that of the network its NICs are on."""
    parents = _parents(gpus, nics, cpu.sockets)
    nic_of_gpu = _default_nics(gpus, nics, parents)
    memory = cpu.memory_bandwidth_bytes_per_s or cpu.sockets * PROCESSORS[cpu.generation].memory_bytes_per_s
    ports = () if nics is None else _nics(nics, transport, parents, nic_of_gpu)
    wired = gpus is not None and gpus.fabric in (Fabric.NVSWITCH, Fabric.CUBE_MESH)
    pairs = cube_mesh(gpus.device.nvlink_links) if gpus and gpus.fabric is Fabric.CUBE_MESH else MappingProxyType({})
    links = [*_gpu_links(gpus, parents, pairs), *_nic_links(ports, parents, transport), *_cpu_links(cpu, memory)]
    return NodeTemplate(
        gpus=gpus.count if gpus else 0,
        device=gpus.device if gpus else None,
        fabric=gpus.fabric if gpus else Fabric.NONE,
        nvlink_bytes_per_s=gpus.device.nvlink_bytes_per_s if gpus and wired else 0.0,
        nvlinks=pairs,
        pcie=_pcie(gpus),
        nics=ports,
        cpu=Cpu(PROCESSORS[cpu.generation].vendor, cpu.generation, cpu.sockets, cpu.cores, memory),
        links=tuple(links),
        parents=MappingProxyType(parents),
        nic_of_gpu=nic_of_gpu,
    )


def _pcie(gpus: GpuPlan | None) -> Pcie:
    if gpus is None:
        return Pcie(0, 0, 0)
    return Pcie(0 if gpus.c2c else gpus.pcie_generation, gpus.pcie_width, gpus.switches)


def _parents(gpus: GpuPlan | None, nics: NicPlan | None, sockets: int) -> dict[str, str]:
    parents: dict[str, str] = {f"memory{socket}": f"socket{socket}" for socket in range(sockets)}
    switches = gpus.switches if gpus else 0
    parents |= {f"pcie{switch}": f"socket{switch * sockets // switches}" for switch in range(switches)}
    for gpu in range(gpus.count if gpus else 0):
        count = gpus.count if gpus else 0
        parents[f"gpu{gpu}"] = f"pcie{gpu * switches // count}" if switches else f"socket{gpu * sockets // count}"
    if nics:
        on_switch = nics.attach == "switch" and switches
        above, count = ("pcie", switches) if on_switch else ("socket", sockets)
        parents |= {f"nic{nic}": f"{above}{nic * count // nics.count}" for nic in range(nics.count)}
    return parents


def _default_nics(gpus: GpuPlan | None, nics: NicPlan | None, parents: Mapping[str, str]) -> tuple[int, ...]:
    """Return the nearest NIC of each GPU; GPUs with the same nearest NICs take turns."""
    if gpus is None or nics is None:
        return ()
    nearest = [nearest_nics(parents, gpu, nics.count) for gpu in range(gpus.count)]
    turns: dict[tuple[int, ...], int] = {}
    chosen = []
    for candidates in nearest:
        turn = turns[candidates] = turns.get(candidates, -1) + 1
        chosen.append(candidates[turn * len(candidates) // nearest.count(candidates)])
    return tuple(chosen)


def _nics(
    plan: NicPlan, transport: Transport, parents: Mapping[str, str], nic_of_gpu: tuple[int, ...]
) -> tuple[Nic, ...]:
    efficiency = plan.efficiency or transport.efficiency(plan.rate_bytes_per_s)
    found = []
    for nic in range(plan.count):
        above = parents[f"nic{nic}"]
        found.append(
            Nic(
                rate_bytes_per_s=plan.rate_bytes_per_s,
                efficiency=efficiency,
                gpus=tuple(gpu for gpu, chosen in enumerate(nic_of_gpu) if chosen == nic),
                socket=int(parents.get(above, above).removeprefix("socket")),
                pcie_switch=int(above.removeprefix("pcie")) if above.startswith("pcie") else None,
                pcie_generation=plan.pcie_generation,
                pcie_width=plan.pcie_width,
            )
        )
    return tuple(found)


def _gpu_links(plan: GpuPlan | None, parents: Mapping[str, str], pairs: Mapping[tuple[int, int], int]) -> list[Link]:
    if plan is None:
        return []
    links: list[Link] = []
    nvlink = plan.device.nvlink_link_bytes_per_s * NVLINK_EFFICIENCY.get(plan.device.arch, 1.0)
    port = nvlink * plan.device.nvlink_links
    for gpu in range(plan.count):
        if plan.fabric is Fabric.NVSWITCH:
            links += both_ways(f"gpu{gpu}", "nvswitch", "nvlink", port, NVLINK_LATENCY_S)
        elif plan.fabric is Fabric.CUBE_MESH:
            links += both_ways(f"gpu{gpu}", f"port{gpu}", "nvlink", port, 0.0)
    for (first, second), count in pairs.items():
        links += both_ways(f"port{first}", f"port{second}", "nvlink", nvlink * count, 2 * NVLINK_LATENCY_S)
    slot = pcie_bytes_per_s(plan.pcie_generation, plan.pcie_width)
    for gpu in range(plan.count):
        kind, rate = ("c2c", C2C_BYTES_PER_S) if plan.c2c else ("pcie", slot)
        links += both_ways(f"gpu{gpu}", parents[f"gpu{gpu}"], kind, rate, PCIE_LATENCY_S)
    uplink = pcie_bytes_per_s(plan.uplink_generation, plan.uplink_width)
    for switch in range(plan.switches):
        links += both_ways(f"pcie{switch}", parents[f"pcie{switch}"], "pcie", uplink, PCIE_LATENCY_S)
    return links


def _nic_links(nics: tuple[Nic, ...], parents: Mapping[str, str], transport: Transport) -> list[Link]:
    links: list[Link] = []
    for number, nic in enumerate(nics):
        slot = pcie_bytes_per_s(nic.pcie_generation, nic.pcie_width)
        links += both_ways(f"nic{number}", parents[f"nic{number}"], "pcie", slot, PCIE_LATENCY_S)
        links += both_ways(f"nic{number}", "", "nic", nic.payload_bytes_per_s, transport.latency_s / 2)
    return links


def _cpu_links(cpu: CpuPlan, memory_bytes_per_s: float) -> list[Link]:
    """Sockets are connected pairwise; reads and writes of a memory each get its whole achievable rate."""
    links: list[Link] = []
    memory = memory_bytes_per_s / cpu.sockets * MEMORY_EFFICIENCY
    for socket in range(cpu.sockets):
        links += both_ways(f"socket{socket}", f"memory{socket}", "host_memory", memory, MEMORY_LATENCY_S)
    rate = PROCESSORS[cpu.generation].socket_bytes_per_s * SOCKET_EFFICIENCY
    if rate:
        for first in range(cpu.sockets):
            for second in range(first + 1, cpu.sockets):
                links += both_ways(f"socket{first}", f"socket{second}", "socket", rate, SOCKET_LATENCY_S)
    return links
