"""Where collectives were measured whose machines are not the bundled ones of their GPU, and how they were."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from simdml.costs.collectives.nccl_forced import ANY, Allowed
from simdml.costs.collectives.nccl_tables import DEFAULT_VERSION, Algorithm, Protocol
from simdml.validation.runs.reading import Row

_VERSION: Final = re.compile(r"\d+\.\d+(?:\.\d+)?")
_RELEASES: Final = (
    # NCCL of the year in which a GPU's logs were published, where they do not print it, as in
    # calibrate/fit_communication.py: tables of latency changed in 2.18, 2.21 and 2.23.
    ("gb200", "2.26.2"),
    ("b200", "2.27.7"),
    ("h200", "2.23.4"),
    # DGX Cloud's log prints PCIe addresses with their domain, as nccl-tests of late 2024; it and AWS Batch's go from LL
    # to NVLS behind 1 MiB, as 2.21 and later do and 2.20 does not (chosen after rows were seen).
    ("h100 dgxc", "2.23.4"),
    ("h100 p5.48xlarge 1node", "2.23.4"),
    ("h100", "2.20.5"),
    ("a100", "2.18.5"),
    ("v100", "2.18.5"),
    ("rtx4090", "2.18.5"),
    ("k80", "2.8.4"),
)
_NO_NVLS: Final = Allowed(tuple(each for each in Algorithm if each not in (Algorithm.NVLS, Algorithm.NVLS_TREE)))
_NO_LL128: Final = Allowed(protocols=(Protocol.LL, Protocol.SIMPLE))


@dataclass(frozen=True, slots=True)
class Site:
    """A place whose machines are not the bundled ones of their GPU: what differs, and the NCCL of its year.

    ``fit`` names the fit of its nodes where the wiring that it is taken for would get another; ``allowed`` is what
    NCCL was told to choose from.
    """

    cluster: str
    node: dict[str, Any]
    network: dict[str, Any]
    version: str = ""
    fit: str = ""
    allowed: Allowed = ANY


def _nics(count: int, gbit_per_s: int) -> dict[str, Any]:
    return {"nics": {"count": count, "rate": f"{gbit_per_s} Gbps"}}


_SITES: Final = (
    # ABCI (aistabci/abci2.0benchmark): V nodes have four V100 (each pair on
    # two NVLinks, taken as a switch) and two EDR ports, A nodes eight A100, four HDR ports and
    # Ice Lake. Without LL128: broadcasts on V change from LL to Simple where NCCL 2.8.4 does without it, and
    # all-reduces from 1 MiB on are as slow as by LL and Simple on both (chosen after rows were seen).
    (
        r"v100 abci",
        Site(
            "dgx1_v100",
            {"gpus": {"count": 4, "fabric": "nvswitch", "switches": 2}, **_nics(2, 100)},
            {"efficiency": "infiniband"},
            "2.8.4",
            "nccl_v100_nvlink",
            _NO_LL128,
        ),
    ),
    (
        r"a100 abci",
        Site(
            "dgx_a100_40gb",
            {"cpu": {"model": "ice_lake"}, **_nics(4, 200)},
            {"efficiency": "infiniband"},
            "2.8.4",
            allowed=_NO_LL128,
        ),
    ),
    # The log's own lines: NCCL 2.4.8 (the oldest tables known are 2.7.8's) and NCCL_TREE_THRESHOLD=0.
    (r"p3dn", Site("p3dn_24xlarge", {}, {}, "2.7.8", allowed=Allowed((Algorithm.RING,)))),
    # AWS's instance pages: p4de has p4d's four 100 Gb/s, p5en sixteen 200 Gb/s, p6-b200 eight 400 Gb/s EFA devices.
    (r"p4de", Site("p4d_24xlarge", {"gpus": {"type": "a100_sxm_80gb"}}, {})),
    (r"p5en", Site("dgx_h200", _nics(16, 200), {"efficiency": "efa", "sharp": False})),
    (r"p5\.48", Site("p5_48xlarge", {}, {})),
    (r"p6 b200", Site("dgx_b200", _nics(8, 400), {"efficiency": "efa", "sharp": False})),
    # Azure's NC24 has four K80 dies on two sockets; Bessemer's four V100 are taken, as in their fit, for cards that
    # reach each other through the host.
    (r"k80 azure", Site("p2_8xlarge", {"gpus": {"count": 4, "switches": 0}, "cpu": {"sockets": 2}}, {})),
    (
        r"v100pcie bessemer",
        Site("pcie_8gpu_25gbe", {"gpus": {"type": "v100_pcie_32gb", "count": 4, "switches": 0}}, {}, "2.8.4"),
    ),
    # Four RTX 4090 with peer access, on PCIe 4 of an EPYC: L40S has the same chip and the same way to its peers.
    (
        r"rtx4090",
        Site(
            "pcie_8gpu",
            {"gpus": {"type": "l40s", "count": 4, "switches": 0}, "cpu": {"model": "milan", "sockets": 1}},
            {},
        ),
    ),
)
_TORCH_CALL_S: Final = 20e-6
"""What ``all_reduce_bench.py`` counts beside the collective: its events enclose the host's call in PyTorch.

The median on eight H200 below 1 MiB over what nccl-tests has on eight H100 (a log of DGX Cloud's); chosen after rows
were seen, and B200 rows were not among them.
"""


def site_of(row: Row) -> Site | None:
    """Return the place where a row was measured; None for one whose machines are the bundled ones."""
    return next((site for pattern, site in _SITES if re.search(pattern, called(row))), None)


def called(row: Row) -> str:
    """Return what a row calls its machine, in small letters and spaces."""
    return row.text("gpu").lower().replace("_", " ").replace("-", " ")


def version_of(row: Row, site: Site | None) -> str:
    """Return the NCCL that ran: as the row states, as the site does, or that of the GPU's year."""
    stated = _VERSION.search(row.text("nccl_version"))
    release = next((release for device, release in _RELEASES if device in called(row)), DEFAULT_VERSION)
    return stated[0] if stated else (site.version if site else "") or release


def allowed_by(row: Row, site: Site | None) -> Allowed:
    """Return what NCCL might choose from, by the variables that the row says were set."""
    if "NCCL_NVLS_ENABLE=0" in row.text("notes"):
        return _NO_NVLS
    return site.allowed if site else ANY


def call_s(row: Row) -> float:
    """Return the seconds that the program which measured a row counts beside the collective."""
    return _TORCH_CALL_S if "all_reduce_bench.py" in row.text("how") else 0.0
