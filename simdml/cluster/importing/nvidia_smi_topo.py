"""``nvidia-smi topo -m``: the matrix of how GPUs and NICs reach each other.

Codes (the tool's own legend): X self; NV# so many NVLinks; PIX one PCIe bridge; PXB several, without the host
bridge; PHB the host bridge; NODE several host bridges of a NUMA node; SYS (older: SOC) the link between NUMA nodes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from simdml.cluster.importing.found_node import FoundGpu, FoundNic, FoundNode
from simdml.errors import DocumentError, Place

EXPECTED = "the output of nvidia-smi topo -m: a header of GPU0, GPU1, ... and a row for each"
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_CELL = re.compile(r"^(X|NV\d+|PIX|PXB|PHB|NODE|SYS|SOC)$")
_DEVICE = re.compile(r"^(GPU\d+|NIC\d+|mlx\d+_\d+|[a-z]+\w*_\d+)$")
_LEGEND = re.compile(r"^\s*(NIC\d+):\s*(\S+)\s*$")
_NEAR = ("PIX", "PXB")


@dataclass(frozen=True, slots=True)
class Matrix:
    """``cells[a, b]`` between devices in the order of ``devices``; ``numa`` of the GPUs where printed."""

    devices: tuple[str, ...]
    cells: Mapping[tuple[str, str], str]
    numa: Mapping[str, str]
    names: Mapping[str, str]

    @property
    def gpus(self) -> list[str]:
        """GPUs in order."""
        return [device for device in self.devices if device.startswith("GPU")]

    @property
    def nics(self) -> list[str]:
        """NICs in order."""
        return [device for device in self.devices if not device.startswith("GPU")]


def parse_topo(text: str, name: str) -> FoundNode:
    """Return the node a matrix describes; ``name`` stands for the file.

    Raises:
        DocumentError: no matrix, or a damaged row, with its line.
    """
    matrix = parse_matrix(text, name)
    groups = _switches(matrix)
    sockets, numbers = _sockets(matrix)
    counts = {
        (a, b): int(cell.removeprefix("NV"))
        for a, first in enumerate(matrix.gpus)
        for b, second in enumerate(matrix.gpus)
        if a < b and (cell := matrix.cells[first, second]).startswith("NV")
    }
    pairs = len(matrix.gpus) * (len(matrix.gpus) - 1) // 2
    every = set(counts.values())
    # More than two GPUs that all reach each other by as many links as a GPU has share a switch.
    nvswitch = len(counts) == pairs and len(every) == 1 and len(matrix.gpus) > 2 and max(every) >= 4
    nics = tuple(FoundNic(matrix.names.get(nic, nic), numbers.get(nic, 0), groups.get(nic)) for nic in matrix.nics)
    node = FoundNode(
        gpus=tuple(FoundGpu("", numbers[gpu], groups.get(gpu)) for gpu in matrix.gpus),
        nics=nics,
        sockets=sockets,
        nvlinks=counts,
        nvswitch=nvswitch,
        notes=("PCIe generations, NIC rates and the kind of GPU are not in the matrix",),
    )
    return _without_far_nics(node, matrix)


def parse_matrix(text: str, name: str) -> Matrix:
    """Return the cells of the matrix; raises DocumentError."""
    devices: list[str] = []
    cells: dict[tuple[str, str], str] = {}
    numa: dict[str, str] = {}
    names: dict[str, str] = {}
    titles: list[str] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = _ESCAPES.sub("", raw)
        tokens = line.split()
        if (legend := _LEGEND.match(line)) is not None:
            names[legend.group(1)] = legend.group(2)
        elif not devices and tokens[:1] == ["GPU0"] and len(tokens) > 1 and not _CELL.match(tokens[1]):
            devices = _devices(tokens)
            titles = re.findall(r"CPU Affinity|NUMA Affinity|GPU NUMA ID", line)
        elif devices and tokens and tokens[0] in devices:
            place = Place(name, number, 1, source_line=line)
            _read_row(tokens, devices, cells, place)
            if "NUMA Affinity" in titles and len(tokens) > len(devices) + 2:
                numa[tokens[0]] = tokens[len(devices) + 2]
    if not devices:
        raise DocumentError("there is no matrix in this file", place=Place(name), hint=f"expected {EXPECTED}")
    missing = [device for device in devices if (device, device) not in cells]
    if missing:
        raise DocumentError(f"the matrix has no row {missing[0]}", place=Place(name), hint=f"expected {EXPECTED}")
    return Matrix(tuple(devices), cells, numa, names)


def _devices(tokens: Sequence[str]) -> list[str]:
    found = []
    for token in tokens:
        if not _DEVICE.match(token):
            break
        found.append(token)
    return found


def _read_row(tokens: Sequence[str], devices: Sequence[str], cells: dict[tuple[str, str], str], place: Place) -> None:
    row = tokens[1 : 1 + len(devices)]
    wrong = next((cell for cell in row if not _CELL.match(cell)), None)
    if wrong is not None or len(row) < len(devices):
        message = f"{wrong!r} is no code of the matrix" if wrong else f"the row has {len(row)} cells"
        raise DocumentError(message, place=place, hint=f"expected {len(devices)} of X, NV#, PIX, PXB, PHB, NODE, SYS")
    if row[devices.index(tokens[0])] != "X":
        raise DocumentError("the diagonal is not X", place=place, hint=f"expected {EXPECTED}")
    for device, cell in zip(devices, row, strict=True):
        cells[tokens[0], device] = "SYS" if cell == "SOC" else cell


def _joined(matrix: Matrix, codes: Sequence[str]) -> dict[str, str]:
    """Put devices that reach each other by ``codes``, directly or over a third, under the name of the first."""
    head = {device: device for device in matrix.devices}
    for (a, b), cell in matrix.cells.items():
        if cell in codes and head[a] != head[b]:
            low, high = sorted((head[a], head[b]), key=matrix.devices.index)
            head = {device: low if found == high else found for device, found in head.items()}
    return head


def _switches(matrix: Matrix) -> dict[str, str]:
    """Name the PCIe switch of every device that shares one."""
    head = _joined(matrix, _NEAR)
    shared = [name for name in head.values() if list(head.values()).count(name) > 1]
    return {device: name for device, name in head.items() if name in shared}


def _sockets(matrix: Matrix) -> tuple[int, dict[str, int]]:
    """Number the NUMA domains: by the codes that stay inside one, and by the affinity column of GPUs."""
    head = _joined(matrix, (*_NEAR, "PHB", "NODE"))
    column = {gpu: numa for gpu, numa in matrix.numa.items() if numa.isdigit()}
    by_name: dict[str, str] = {}
    for device in matrix.devices:
        gpu = next((other for other in matrix.gpus if head[other] == head[device] and other in column), None)
        by_name[device] = f"numa {column[gpu]}" if gpu else head[device]
    if not column and all(cell.startswith("NV") or a == b for (a, b), cell in matrix.cells.items()):
        by_name = dict.fromkeys(matrix.devices, "all")
    gpu_domains = list(dict.fromkeys(by_name[gpu] for gpu in matrix.gpus))
    numbers = {device: gpu_domains.index(name) if name in gpu_domains else 0 for device, name in by_name.items()}
    return len(gpu_domains), numbers


def _without_far_nics(node: FoundNode, matrix: Matrix) -> FoundNode:
    """Leave out NICs near no GPU where others are: those serve storage and management, and NCCL prefers the near."""
    near = [any(matrix.cells[nic, gpu] in _NEAR for gpu in matrix.gpus) for nic in matrix.nics]
    if all(near) or not any(near):
        return node
    kept = tuple(nic for nic, is_near in zip(node.nics, near, strict=True) if is_near)
    left = ", ".join(nic.name for nic, is_near in zip(node.nics, near, strict=True) if not is_near)
    return replace(node, nics=kept, notes=(*node.notes, f"left out, near no GPU: {left}"))
