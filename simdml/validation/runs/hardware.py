"""What a row says of GPUs and links, as the cluster of a scenario."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from simdml.validation.runs.reading import Row, Unusable

NOT_STATED: Final = ("not stated", "single node")


@dataclass(frozen=True, slots=True)
class Machine:
    """A bundled cluster with GPUs of one kind, and how many a node of it has."""

    cluster: str
    device: str
    gpus_per_node: int


_PCIE = "pcie_8gpu"
_MACHINES: Final[tuple[tuple[str, Machine], ...]] = (
    (r"\bgb200\b", Machine("gb200_nvl72", "gb200", 72)),
    (r"\bb200\b", Machine("dgx_b200", "b200_sxm", 8)),
    (r"\bh200\b", Machine("dgx_h200", "h200_sxm", 8)),
    (r"\bh100\b.*pcie", Machine(_PCIE, "h100_pcie", 8)),
    (r"\bh100\b", Machine("dgx_h100", "h100_sxm", 8)),
    (r"\ba100\b.*pcie.*40gb|\ba100\b.*40gb.*pcie", Machine(_PCIE, "a100_pcie_40gb", 8)),
    (r"\ba100\b.*pcie", Machine(_PCIE, "a100_pcie_80gb", 8)),
    (r"\ba100\b.*40gb", Machine("dgx_a100_40gb", "a100_sxm_40gb", 8)),
    (r"\ba100\b", Machine("dgx_a100", "a100_sxm_80gb", 8)),
    (r"\bv100\b.*sxm3", Machine("dgx2_v100", "v100_sxm3_32gb", 16)),
    (r"\bv100(\b.*)?pcie.*32gb", Machine("pcie_8gpu_25gbe", "v100_pcie_32gb", 8)),
    (r"\bv100(\b.*)?pcie", Machine("pcie_8gpu_25gbe", "v100_pcie_16gb", 8)),
    (r"\bv100\b.*32gb", Machine("dgx1_v100", "v100_sxm2_32gb", 8)),
    (r"\bv100\b", Machine("dgx1_v100", "v100_sxm2_16gb", 8)),
    (r"\bp100\b.*(sxm|dgx)", Machine("dgx1_p100", "p100_sxm2", 8)),
    (r"\bp100\b", Machine(_PCIE, "p100_pcie", 8)),
    (r"\bp40\b", Machine("pcie_8xp40", "p40", 8)),
    (r"\bt4\b", Machine("pcie_4xt4_25gbe", "t4", 4)),
    (r"\bk80\b", Machine("p2_8xlarge", "k80", 8)),
    (r"\bl40s\b", Machine(_PCIE, "l40s", 8)),
    (r"\bl4\b", Machine(_PCIE, "l4", 8)),
    (r"\ba6000\b", Machine(_PCIE, "a6000", 8)),
    (r"\ba10g\b", Machine(_PCIE, "a10g", 8)),
    (r"\ba10\b", Machine(_PCIE, "a10", 8)),
)
"""By what a row calls the GPU, the first that matches."""

_TRANSPORTS: Final = (
    ("roce", "roce"),
    ("infiniband", "infiniband"),
    ("omni-path", "omni_path"),
    ("efa", "efa"),
    ("ethernet", "tcp"),
)
_PORTS = re.compile(r"(\d+)\s*x\s*(?:[a-z-]+\s+)*(\d+(?:\.\d+)?)\s*gb")
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*gb(?:/s|ps|it)")
_PER_NODE = re.compile(r"per node")
_LINKS_OF_SOURCES: Final = (
    # "Cross-node communication is facilitated by NVIDIA Mellanox 200Gb/s HDR Infiniband" (arXiv 2311.05610, recalled).
    # That this is a node's link, not a GPU's, was chosen after rows were seen: what they need more than with eight such
    # links does not depend on micro-batches and grows with the parameters on a node.
    (r"aleph alpha", "infiniband 200 gb/s"),
)
"""Links between nodes that a source states and its rows do not."""
_NOT_MI = re.compile(r"\b(mi\d+|instinct|radeon)\b")


def machine_of(row: Row) -> Machine:
    """Return the machine of a row; raises Unusable for a GPU that simdml does not have."""
    name = row.text("gpu").lower().replace("_", " ").replace("-", " ")
    if not _NOT_MI.search(name):
        for pattern, machine in _MACHINES:
            if re.search(pattern, name):
                return machine
    raise Unusable(f"no GPU like {row.text('gpu')!r} is known")


def cluster_of(row: Row) -> dict[str, Any]:
    """Return the ``cluster`` and ``gpus`` of a scenario; raises Unusable."""
    machine = machine_of(row)
    gpus = row.count("num_gpus")
    in_node = row.count("gpus_per_node", machine.gpus_per_node)
    cluster: dict[str, Any] = {"name": machine.cluster}
    node: dict[str, Any] = {"gpus": {"type": machine.device}}
    if machine.gpus_per_node == 72:
        in_node = 72
    elif in_node != machine.gpus_per_node and gpus > 1:
        node["gpus"] |= {"count": in_node, **_fabric(machine)}
    else:
        in_node = machine.gpus_per_node
    cluster["nodes"] = ceil(gpus / in_node)
    if cluster["nodes"] > 1:
        link = row.text("inter_link").lower() or _link_of_source(row)
        nics, transport = _network(link, in_node)
        if nics:
            node["nics"] = nics
        if transport:
            cluster["network"] = _transport(transport)
    return {"cluster": cluster | {"node": node}, "gpus": gpus}


def _link_of_source(row: Row) -> str:
    source = row.source.lower()
    return next((link for pattern, link in _LINKS_OF_SOURCES if re.search(pattern, source)), "")


def _fabric(machine: Machine) -> dict[str, Any]:
    """Return how a node with another number of such GPUs is wired: fully connected ones are taken as on a switch."""
    if machine.cluster.startswith("pcie") or machine.cluster == "p2_8xlarge":
        return {"switches": 0}
    return {"fabric": "nvswitch", "switches": 0}


def _transport(transport: str) -> dict[str, Any]:
    """Return the network's section: switches that reduce are those of InfiniBand alone."""
    return {"efficiency": transport} | ({} if transport == "infiniband" else {"sharp": False})


def _network(link: str, in_node: int) -> tuple[dict[str, Any], str]:
    """Return NICs and transport of what a row says of the network between nodes; empty where it says nothing."""
    if link.startswith(NOT_STATED):
        return {}, ""
    transport = next((name for word, name in _TRANSPORTS if word in link), "")
    ports = _PORTS.search(link)
    if ports:
        return {"count": int(ports[1]), "rate": f"{ports[2]} Gbps"}, transport
    rate = _RATE.search(link)
    if rate is None:
        return {}, transport
    total = float(rate[1])
    if _PER_NODE.search(link) and total >= 400:
        return {"count": in_node, "rate": f"{total / in_node:g} Gbps"}, transport
    return {"count": 1, "rate": f"{total:g} Gbps"}, transport
