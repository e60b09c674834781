"""Rows of collectives, as nccl-tests prints them, into a cluster, a communicator and a size; and their prediction."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from simdml.calibration.communication_file import load_communication_fit
from simdml.cluster.cluster import Cluster
from simdml.cluster.loading import load_cluster
from simdml.costs.collectives.fits import default_fit_names
from simdml.costs.collectives.nccl import nccl_cost
from simdml.costs.collectives.nccl_tables import DEFAULT_VERSION
from simdml.costs.collectives.plan import CollectiveKind, TransferPlan
from simdml.validation.runs.hardware import machine_of
from simdml.validation.runs.reading import Row, Unusable

_KINDS: Final = {
    "all_reduce": CollectiveKind.ALL_REDUCE,
    "all_gather": CollectiveKind.ALL_GATHER,
    "reduce_scatter": CollectiveKind.REDUCE_SCATTER,
    "broadcast": CollectiveKind.BROADCAST,
    "reduce": CollectiveKind.REDUCE,
    "alltoall": CollectiveKind.ALL_TO_ALL,
    # Every rank sends to the next and receives from the one before (nccl-tests, src/sendrecv.cu).
    "sendrecv": CollectiveKind.SHIFT,
}
_VERSION: Final = re.compile(r"\d+\.\d+(?:\.\d+)?")
_RELEASES: Final = (
    # NCCL of the year in which a GPU's logs were published, where they do not print it, as in
    # calibrate/fit_communication.py: tables of latency changed in 2.18, 2.21 and 2.23.
    ("gb200", "2.26.2"),
    ("b200", "2.27.7"),
    ("h200", "2.23.4"),
    ("h100", "2.20.5"),
    ("a100", "2.18.5"),
    ("v100", "2.18.5"),
    ("k80", "2.8.4"),
)


@dataclass(frozen=True, slots=True)
class Site:
    """A place whose machines are not the bundled ones of their GPU: what differs, and the NCCL of its year.

    ``fit`` names the fit of its nodes where the wiring that it is taken for would get another.
    """

    cluster: str
    node: dict[str, Any]
    network: dict[str, Any]
    version: str = ""
    fit: str = ""


def _nics(count: int, gbit_per_s: int) -> dict[str, Any]:
    return {"nics": {"count": count, "rate": f"{gbit_per_s} Gbps"}}


_SITES: Final = (
    # ABCI (aistabci/abci2.0benchmark): V nodes have four V100 (each pair on
    # two NVLinks, taken as a switch) and two EDR ports, A nodes eight A100 and four HDR ports.
    (
        r"v100 abci",
        Site(
            "dgx1_v100",
            {"gpus": {"count": 4, "fabric": "nvswitch", "switches": 2}, **_nics(2, 100)},
            {"efficiency": "infiniband"},
            "2.8.4",
            "nccl_v100_nvlink",
        ),
    ),
    (r"a100 abci", Site("dgx_a100_40gb", _nics(4, 200), {"efficiency": "infiniband"}, "2.8.4")),
    # AWS's instance pages: p4de has p4d's four 100 Gb/s, p5en sixteen 200 Gb/s, p6-b200 eight 400 Gb/s EFA devices.
    (r"p3dn", Site("p3dn_24xlarge", {}, {}, "2.7.8")),
    (r"p4de", Site("p4d_24xlarge", {"gpus": {"type": "a100_sxm_80gb"}}, {})),
    (r"p5en", Site("dgx_h200", _nics(16, 200), {"efficiency": "efa", "sharp": False})),
    (r"p5\.48", Site("p5_48xlarge", {}, {})),
    (r"p6 b200", Site("dgx_b200", _nics(8, 400), {"efficiency": "efa", "sharp": False})),
)


def collective_plan(row: Row) -> TransferPlan:
    """Return how a row's collective would run; raises Unusable for one that simdml has no model of."""
    kind = _KINDS.get(row.text("collective"))
    if kind is None:
        raise Unusable(f"collective {row.text('collective')!r} is none of {', '.join(_KINDS)}")
    size, ranks = row.number("size_bytes"), row.count("num_gpus")
    nodes = _nodes(row)
    if not size:
        raise Unusable("it moves nothing")
    if ranks % nodes:
        raise Unusable(f"{ranks} GPUs on {nodes} nodes: how many on each is not stated")
    site = _site(row)
    section, version = _machines(row, site)
    section["nodes"] = nodes
    cluster = _cluster(json.dumps(section, sort_keys=True))
    in_node = ranks // nodes
    if in_node > len(cluster.gpus_of(0)):
        raise Unusable(f"{in_node} GPUs a node, and such a node has {len(cluster.gpus_of(0))}")
    members = [gpu for node in range(nodes) for gpu in list(cluster.gpus_of(node))[:in_node]]
    node_fit, network_fit = default_fit_names(cluster)
    fit = load_communication_fit((site and site.fit) or node_fit, network_fit)
    return nccl_cost(cluster, fit, version).plan(kind, members, size)


def _site(row: Row) -> Site | None:
    return next((site for pattern, site in _SITES if re.search(pattern, _name(row))), None)


def _name(row: Row) -> str:
    return row.text("gpu").lower().replace("_", " ").replace("-", " ")


def _machines(row: Row, site: Site | None) -> tuple[dict[str, Any], str]:
    """Return the ``cluster`` of a scenario, and the NCCL that ran on it."""
    if site is None:
        device = machine_of(row)
        section: dict[str, Any] = {"name": device.cluster, "node": {"gpus": {"type": device.device}}}
    else:
        section = {"name": site.cluster}
        section |= {part: value for part, value in (("node", site.node), ("network", site.network)) if value}
    stated = _VERSION.search(row.text("nccl_version"))
    release = next((release for device, release in _RELEASES if device in _name(row)), DEFAULT_VERSION)
    version = stated[0] if stated else (site.version if site else "") or release
    return section, version


def _nodes(row: Row) -> int:
    stated = re.match(r"\d+", row.text("nodes"))
    if stated is None or int(stated[0]) < 1:
        raise Unusable(f"nodes is {row.text('nodes')!r}, not a count")
    return int(stated[0])


@lru_cache(maxsize=64)
def _cluster(section: str) -> Cluster:
    return load_cluster(json.loads(section))
