"""NCCL's topology XML: dumps of NCCL_TOPO_DUMP_FILE, and the files vendors give to NCCL_TOPO_FILE.

Format: NVIDIA/nccl ``src/graph/xml.cc`` and ``topo.cc``: ``system`` holds ``cpu`` elements (NUMA domains), those nested
``pci`` elements with ``gpu`` or ``nic`` leaves. Vendors may leave the leaves to the runtime; then PCI classes
tell (0x0302 and 0x0300 GPU, 0x0200 Ethernet, 0x0207 InfiniBand, 0x0604 bridge), and where those are missing too,
what is assumed is noted. Graph files (``graphs``, channels rather than hardware) give the number of GPUs and the path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from simdml.cluster.importing.found_node import FoundGpu, FoundNic, FoundNode
from simdml.cluster.importing.safe_xml import Element, parse_xml
from simdml.errors import DocumentError, Place

GENERATION_OF_SPEED = {8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6}
"""PCIe generation by GT/s a lane."""

# NVIDIA device ids as the PCI ID database lists them.
GPU_OF_DEVICE_ID: Mapping[str, str] = MappingProxyType(
    {
        **{"0x102d": "k80", "0x15f9": "p100_sxm2", "0x15f8": "p100_pcie", "0x1eb8": "t4"},
        **{"0x1db1": "v100_sxm2_16gb", "0x1db5": "v100_sxm2_32gb", "0x1db8": "v100_sxm3_32gb"},
        **{"0x1db4": "v100_pcie_16gb", "0x1db6": "v100_pcie_32gb"},
        **{
            "0x20b0": "a100_sxm_40gb",
            "0x20b2": "a100_sxm_80gb",
            "0x20f1": "a100_pcie_40gb",
            "0x20b5": "a100_pcie_80gb",
        },
        **{"0x2236": "a10", "0x2237": "a10g", "0x2230": "a6000", "0x27b8": "l4", "0x26b9": "l40s"},
        **{"0x2330": "h100_sxm", "0x2331": "h100_pcie", "0x2321": "h100_nvl", "0x2329": "h20", "0x2335": "h200_sxm"},
        **{"0x2901": "b200_sxm", "0x2941": "gb200"},
    }
)
GPU_OF_CAPABILITY = {"60": "p100_sxm2", "70": "v100_sxm2_16gb", "75": "t4", "80": "a100_sxm_80gb", "86": "a10",
                     "89": "l40s", "90": "h100_sxm", "100": "b200_sxm", "103": "b300_sxm"}  # fmt: skip

_INTEL = {63: "haswell", 79: "broadwell", 85: "skylake", 106: "ice_lake", 108: "ice_lake", 143: "sapphire_rapids",
          207: "emerald_rapids"}  # fmt: skip
_AMD = {(23, 49): "rome", (25, 1): "milan", (25, 17): "genoa"}


@dataclass
class _Reader:
    """What a walk through the tree has found."""

    gpus: list[FoundGpu] = field(default_factory=list)
    nics: list[FoundNic] = field(default_factory=list)
    busids: dict[str, int] = field(default_factory=dict)
    nvlinks: list[tuple[int, Element]] = field(default_factory=list)
    unknown: list[tuple[int, str | None, str]] = field(default_factory=list)
    switches: list[tuple[int, str]] = field(default_factory=list)
    gpu_slots: list[str] = field(default_factory=list)
    nic_slots: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def parse_nccl_xml(text: str, name: str) -> FoundNode:
    """Return the node that a topology (or graph) file describes; ``name`` stands for the file.

    Raises:
        DocumentError: not such a file, or no GPU and no device in it.
    """
    root = parse_xml(text, name)
    if root.tag == "graphs":
        return _from_graphs(root, name)
    cpus = [child for child in root.children if child.tag == "cpu"]
    if root.tag != "system" or not cpus:
        place = Place(name, root.line, 1)
        raise DocumentError(f"<{root.tag}> is not a topology of NCCL", place=place, hint="expected <system> of <cpu>")
    reader = _Reader()
    for socket, cpu in enumerate(cpus):
        for child in cpu.children:
            _walk(child, socket, None, reader)
    _place_unknown(reader)
    if not reader.gpus:
        raise DocumentError("there is no GPU in this topology", place=Place(name, root.line, 1))
    nvlinks, nvswitch = _nvlinks(reader)
    return FoundNode(
        gpus=tuple(reader.gpus),
        nics=tuple(reader.nics),
        sockets=len(cpus),
        nvlinks=nvlinks,
        nvswitch=nvswitch,
        cpu=_cpu(cpus[0]),
        gpu_slot=_common(reader.gpu_slots),
        nic_slot=_common(reader.nic_slots),
        notes=tuple(reader.notes),
    )


def _walk(element: Element, socket: int, switch: str | None, reader: _Reader) -> None:
    """``switch`` is the bus id of the outermost bridge above, which everything below it shares."""
    if element.tag == "nic":
        _add_ports(element, socket, switch, reader)
    if element.tag != "pci":
        return
    kind = _kind(element)
    if kind == "gpu":
        _add_gpu(element, socket, switch, reader)
    elif kind == "nic":
        reader.nic_slots.append(_slot(element))
        nested = [child for child in element.children if child.tag == "nic"]
        for nic in nested:
            _add_ports(nic, socket, switch, reader)
        if not nested:
            reader.nics.append(FoundNic(_transport_name(element), socket, switch))
    elif kind == "bridge":
        if switch is None:
            reader.switches.append((socket, element.get("busid")))
        for child in element.children:
            _walk(child, socket, switch or element.get("busid"), reader)
    else:
        reader.unknown.append((socket, switch, _slot(element)))


def _kind(element: Element) -> str:
    tags = {child.tag for child in element.children}
    code = element.get("class").lower()
    if "gpu" in tags or code.startswith("0x03"):
        return "gpu"
    if "nic" in tags or "net" in tags or code.startswith("0x02"):
        return "nic"
    return "bridge" if "pci" in tags or code.startswith("0x0604") else ""


def _transport_name(element: Element) -> str:
    if element.get("vendor").lower() == "0x1d0f":
        return "efa"
    return "infiniband" if element.get("class").startswith("0x0207") else "ethernet"


def _add_gpu(element: Element, socket: int, switch: str | None, reader: _Reader) -> None:
    leaf = next((child for child in element.children if child.tag == "gpu"), None)
    by_id = GPU_OF_DEVICE_ID.get(element.get("device").lower(), "")
    by_capability = GPU_OF_CAPABILITY.get(leaf.get("sm"), "") if leaf else ""
    index = len(reader.gpus)
    reader.busids[element.get("busid").lower()] = index
    reader.gpu_slots.append(_slot(element))
    reader.gpus.append(FoundGpu(by_id or by_capability, socket, switch))
    reader.nvlinks += [(index, link) for link in (leaf.children if leaf else []) if link.tag == "nvlink"]


def _add_ports(nic: Element, socket: int, switch: str | None, reader: _Reader) -> None:
    for net in nic.children:
        if net.tag == "net":
            rate = _number(net.get("speed")) * 1e6
            reader.nics.append(FoundNic(net.get("name") or "nic", socket, switch, rate))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _slot(element: Element) -> str:
    """ "gen4 x16" of link_speed "16.0 GT/s PCIe" and link_width "16"; empty where not said or older than gen 3."""
    speed, width = element.get("link_speed").split(" ")[0], element.get("link_width")
    generation = GENERATION_OF_SPEED.get(_number(speed))
    return f"gen{generation} x{width}" if generation and width in ("1", "2", "4", "8", "16") else ""


def _common(slots: list[str]) -> str:
    return Counter(slots).most_common(1)[0][0] if slots else ""


def _cpu(element: Element) -> str:
    family, model = _number(element.get("familyid")), int(_number(element.get("modelid")))
    if element.get("arch").startswith(("arm", "aarch")):
        return "grace"
    if element.get("vendor") == "GenuineIntel":
        return _INTEL.get(model, "")
    # NCCL puts the extended family before the base family's four bits: 0x8f is 0xf + 8 = 23.
    code = int(family)
    return _AMD.get(((code & 0xF) + (code >> 4) if code > 32 else code, model), "")


def _nvlinks(reader: _Reader) -> tuple[Mapping[tuple[int, int], int], bool]:
    """Links between GPUs; those to NVSwitches (class 0x0680) reach every GPU."""
    direct: dict[tuple[int, int], int] = {}
    switched: Counter[int] = Counter()
    for gpu, link in reader.nvlinks:
        count, other = int(_number(link.get("count")) or 1), reader.busids.get(link.get("target").lower())
        if link.get("tclass").startswith("0x0680"):
            switched[gpu] += count
        elif other is not None:
            direct[min(gpu, other), max(gpu, other)] = count
    if switched:
        most = max(switched.values())
        return {(a, b): most for a in switched for b in switched if a < b}, True
    return direct, False


def _place_unknown(reader: _Reader) -> None:
    """Devices without class: beside switches NICs, with a GPU that the runtime adds; on sockets GPUs.

    A last device that the sockets do not share evenly is the NIC.
    """
    below = [entry for entry in reader.unknown if entry[1] is not None]
    direct = [entry for entry in reader.unknown if entry[1] is None]
    if below:
        reader.notes.append(f"{len(below)} devices below switches have no class: taken for NICs")
        reader.nics += [FoundNic("efa", socket, switch) for socket, switch, _ in below]
        reader.nic_slots += [slot for *_, slot in below]
        if not reader.gpus:
            reader.notes.append("no GPU is listed: one is assumed on every switch")
            reader.gpus += [FoundGpu("", socket, switch) for socket, switch in reader.switches]
            reader.gpu_slots += [slot for *_, slot in below]
    if direct:
        sockets = len({socket for socket, *_ in direct})
        even = len(direct) - len(direct) % sockets
        reader.notes.append(f"{len(direct)} devices on sockets have no class: {even} are taken for GPUs")
        reader.gpus += [FoundGpu("", socket) for socket, *_ in direct[:even]]
        reader.nics += [FoundNic("ethernet", socket) for socket, *_ in direct[even:]]


def _from_graphs(root: Element, name: str) -> FoundNode:
    devices = {gpu.get("dev") or gpu.get("rank") for gpu in root.below("gpu")}
    nets = {net.get("dev") for net in root.below("net")}
    paths = {graph.get("typeintra") for graph in root.below("graph")}
    if not devices:
        raise DocumentError("there is no GPU in this graph", place=Place(name, root.line, 1))
    linked = "NVL" in paths
    sockets = 2 if "SYS" in paths and not linked else 1
    count = len(devices)
    return FoundNode(
        gpus=tuple(FoundGpu("", index * sockets // count) for index in range(count)),
        nics=tuple(FoundNic("ethernet", index * sockets // len(nets)) for index in range(len(nets))),
        sockets=sockets,
        nvlinks={(a, b): 0 for a in range(count) for b in range(a + 1, count)} if linked else {},
        nvswitch=linked,
        notes=("a graph file lists channels, not hardware: only the GPUs and the kind of path between them are known",),
    )
