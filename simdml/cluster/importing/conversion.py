"""A found node as a cluster file, in its regular form where the node is regular, else link by link."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simdml.cluster.device import Device, find_device
from simdml.cluster.importing.found_node import FoundNic, FoundNode
from simdml.cluster.importing.graph_form import graph_mapping
from simdml.cluster.importing.nccl_xml import parse_nccl_xml
from simdml.cluster.importing.nvidia_smi_topo import parse_topo
from simdml.cluster.node_building import cube_mesh
from simdml.documents.reading import read_text
from simdml.units import format_bandwidth

# By the NVLinks of a GPU, and by PCIe generation where nothing else is known.
_GPU_OF_LINKS = {18: "h100_sxm", 12: "a100_sxm_80gb", 6: "v100_sxm2_16gb", 4: "p100_sxm2"}
_GPU_OF_GENERATION = {"gen3": "v100_sxm2_16gb", "gen4": "a100_sxm_80gb", "gen5": "h100_sxm", "gen6": "b300_sxm"}
_UNKNOWN_GPU, _UNKNOWN_BRIDGED_GPU = "t4", "a6000"
# The usual network card of a GPU's time, in bit/s.
_NIC_OF_GENERATION = {3: 100e9, 4: 200e9, 5: 400e9, 6: 800e9}
_OLD_NIC = 56e9


@dataclass(frozen=True, slots=True)
class ImportedCluster:
    """The cluster as ``load_cluster`` takes it, and what was assumed or lost."""

    mapping: Mapping[str, Any]
    notes: tuple[str, ...]

    def text(self, source: str) -> str:
        """Return the YAML file, with ``source`` and the notes as comments above."""
        import yaml

        body = yaml.safe_dump(dict(self.mapping), sort_keys=False, default_flow_style=None, width=110)
        comments = [f"Imported by simdml from {source}.", *self.notes]
        return "".join(f"# {line}\n" for line in comments) + body


def import_topology(path: Path, *, gpu: str = "", nic_rate_bps: float = 0.0) -> ImportedCluster:
    """Return the cluster of one node that a file of ``nvidia-smi topo -m`` or NCCL's XML describes.

    ``gpu`` and ``nic_rate_bps`` say what the file does not, and win over what it does.

    Raises:
        DocumentError: the file is damaged or neither of the two.
        UnknownNameError: no GPU is called ``gpu``.
    """
    text = read_text(path)
    parse = parse_nccl_xml if text.lstrip().startswith("<") else parse_topo
    return convert(parse(text, str(path)), gpu=gpu, nic_rate_bps=nic_rate_bps)


def convert(node: FoundNode, *, gpu: str = "", nic_rate_bps: float = 0.0) -> ImportedCluster:
    """Return ``node`` as a cluster; see :func:`import_topology`."""
    notes = list(node.notes)
    device = find_device(gpu) if gpu else _device(node, notes)
    slot = node.gpu_slot or f"gen{device.pcie_generation} x16"
    fabric = _fabric(node, device, notes)
    nics = _nics(node, device, nic_rate_bps, notes)
    efficiency = _transport(node.nics)
    if nics and efficiency == "tcp":
        notes.append("the kind of network is not in the file: tcp is assumed; roce, infiniband and efa are others")
    if not fabric:
        notes.append("the NVLinks form no regular pattern: every link is listed, and the node cannot be repeated")
        mapping = graph_mapping(node, device, slot, nics, efficiency)
        return ImportedCluster(mapping, tuple(notes))
    gpus: dict[str, Any] = {"type": device.name, "count": len(node.gpus), "fabric": fabric, "pcie": slot}
    if switches := _even_switches(node):
        gpus["switches"] = switches
    elif any(found.switch for found in node.gpus):
        notes.append("GPUs share PCIe switches unevenly: they are put on sockets")
    inside: dict[str, Any] = {"gpus": gpus}
    if nics:
        inside["nics"] = nics | {"attach": _attach(node, switches, notes)}
    inside["cpu"] = {"model": node.cpu or "skylake", "sockets": node.sockets}
    if not node.cpu:
        notes.append("the processor is not in the file: skylake is assumed")
    mapping = {"description": _description(node, device), "nodes": 1, "node": inside}
    if nics:
        mapping["network"] = {"kind": "switch", "efficiency": efficiency}
    return ImportedCluster(mapping, tuple(notes))


def _description(node: FoundNode, device: Device) -> str:
    nics = f", {len(node.nics)} NICs" if node.nics else ""
    return f"{len(node.gpus)} x {device.name}{nics}, {node.sockets} NUMA domains"


def _device(node: FoundNode, notes: list[str]) -> Device:
    named = [found.type for found in node.gpus if found.type]
    if named:
        return find_device(named[0])
    per_gpu = max(node.nvlinks.values(), default=0) if node.nvswitch else _links_of_busiest(node)
    guess = _GPU_OF_LINKS.get(per_gpu, "") or (_UNKNOWN_BRIDGED_GPU if node.nvlinks else "")
    guess = guess or _GPU_OF_GENERATION.get(node.gpu_slot.split(" ")[0], _UNKNOWN_GPU)
    notes.append(f"the kind of GPU is not in the file: {guess} is assumed, --gpu says otherwise")
    return find_device(guess)


def _links_of_busiest(node: FoundNode) -> int:
    counts = [sum(n for pair, n in node.nvlinks.items() if gpu in pair) for gpu in range(len(node.gpus))]
    return max(counts, default=0)


def _fabric(node: FoundNode, device: Device, notes: list[str]) -> str:
    """The regular fabric, or empty."""
    if node.nvswitch:
        return "nvswitch"
    if not node.nvlinks:
        if device.nvlink_links >= 6 and "sxm" in device.name and len(node.gpus) == 8:
            fabric = "cube_mesh" if device.compute_capability < 80 else "nvswitch"
            notes.append(f"NVLinks are not in the file: {fabric} is assumed, as on boards of eight {device.name}")
            return fabric
        return "pcie"
    if len(node.gpus) == 8 and dict(node.nvlinks) == dict(cube_mesh(device.nvlink_links)):
        return "cube_mesh"
    # A pair joined by all its links is what two GPUs on a switch are.
    whole = len(node.gpus) == 2 and node.nvlinks.get((0, 1)) == device.nvlink_links
    return "nvswitch" if whole else ""


def _even_switches(node: FoundNode) -> int:
    """How many switches share the GPUs evenly, in order and evenly over the sockets; 0 if they do not."""
    order = [found.switch for found in node.gpus]
    names = list(dict.fromkeys(order))
    if None in names or len(order) % len(names):
        return 0
    share = len(order) // len(names)
    even = order == [name for name in names for _ in range(share)]
    return len(names) if even and len(names) % node.sockets == 0 else 0


def _nics(node: FoundNode, device: Device, rate_bps: float, notes: list[str]) -> dict[str, Any]:
    if not node.nics:
        return {}
    found = sorted({nic.rate_bps for nic in node.nics if nic.rate_bps})
    rate = rate_bps or (found[0] if found else 0.0)
    if len(found) > 1 and not rate_bps:
        notes.append("NICs have several rates: the slowest is taken for all")
    if not rate:
        old = any(nic.name.startswith("mlx4") for nic in node.nics)
        rate = _OLD_NIC if old else _NIC_OF_GENERATION[device.pcie_generation]
        text = format_bandwidth(rate / 8, network=True)
        notes.append(f"the rate of the NICs is not in the file: {text} is assumed, --nic-rate says otherwise")
    made: dict[str, Any] = {"count": len(node.nics), "rate": format_bandwidth(rate / 8, network=True)}
    return made | ({"pcie": node.nic_slot} if node.nic_slot else {})


def _attach(node: FoundNode, switches: int, notes: list[str]) -> str:
    """Where the file format puts the NICs: evenly over switches or sockets."""
    order = list(dict.fromkeys(found.switch for found in node.gpus))
    count = len(node.nics)
    if switches and count % switches == 0:
        place = {name: number for number, name in enumerate(order)}
        by_switch = sorted((nic.switch for nic in node.nics), key=lambda name: place.get(name, -1))
        if by_switch == [name for name in order for _ in range(count // switches)]:
            return "switch"
    sockets = sorted(nic.socket for nic in node.nics)
    if sockets != [index * node.sockets // count for index in range(count)]:
        notes.append("NICs are not spread evenly in the machine; the file spreads them evenly over its sockets")
    elif any(nic.switch for nic in node.nics):
        notes.append("NICs share PCIe switches with a part of the GPUs only; the file puts them on sockets")
    return "socket"


def _transport(nics: tuple[FoundNic, ...]) -> str:
    names = [nic.name.lower() for nic in nics]
    if any(name.startswith(("efa", "rdmap")) for name in names):
        return "efa"
    return "infiniband" if any(name.startswith(("mlx", "infiniband", "nic", "ib")) for name in names) else "tcp"
