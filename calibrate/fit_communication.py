"""Fit the corrections to NCCL's model, and gloo's constants, from published measurements.

    python calibrate/fit_communication.py MEASURED_FOLDER [--write]

``MEASURED_FOLDER`` holds ``nccl-tests/`` (logs as printed), ``allreduce_tables.csv`` (further published sweeps) and
``gloo/`` (output of gloo's benchmark). Prints a table of residuals; with ``--write`` replaces the files in
``calibrate/communication``. Runs marked held out are predicted, not fitted.
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from simdml.calibration.communication import NcclFit
from simdml.calibration.communication_file import load_gloo_fit
from simdml.calibration.fitting.communication_text import communication_text
from simdml.calibration.logs.collective_log import CollectiveLog, bus_factor
from simdml.calibration.logs.gloo import parse_gloo
from simdml.calibration.logs.lines import read_log
from simdml.calibration.logs.nccl_tests import parse_nccl_tests
from simdml.costs.collectives.nccl_graph import Fabric, GroupNode, communicator
from simdml.costs.collectives.nccl_tables import Algorithm, tables
from simdml.costs.collectives.nccl_tuning import (
    Choice,
    CommunicatorShape,
    CpuVendor,
    at_size,
    choose,
    estimates,
)
from simdml.costs.collectives.plan import CollectiveKind
from simdml.costs.fitting.collectives import (
    Modelled,
    fit_corrections,
    fit_gloo,
    modelled,
    nccl_fit,
    predicted_seconds,
)

OUTPUT = Path(__file__).parent / "communication"
MIB = 2**20
DGX1 = (
    (0, 1, 1, 2, 2, 0, 0, 0),
    (1, 0, 2, 1, 0, 2, 0, 0),
    (1, 2, 0, 2, 0, 0, 1, 0),
    (2, 1, 2, 0, 0, 0, 0, 1),
    (2, 0, 0, 0, 0, 1, 1, 2),
    (0, 2, 0, 0, 1, 0, 2, 1),
    (0, 0, 1, 0, 1, 2, 0, 2),
    (0, 0, 0, 1, 2, 1, 2, 0),
)
FOUR_V100 = ((0, 2, 2, 2), (2, 0, 2, 2), (2, 2, 0, 2), (2, 2, 2, 0))
NVLINK = {80: 240.0, 90: 370.8, 100: 721.8}
PCIE = {80: 24.0, 90: 48.0, 100: 48.0}


@dataclass(frozen=True)
class Run:
    """Rows of one published run: ``source`` is a file of nccl-tests rows, or ``machine`` of the tables."""

    fit: str
    source: str
    shape: CommunicatorShape
    version: str
    kind: CollectiveKind = CollectiveKind.ALL_REDUCE
    held_out: bool = False
    ring_only: bool = False


def nvswitch(gpus: int, cc: int, nics: tuple[float, ...] = (), nodes: int = 1) -> CommunicatorShape:
    """HGX boards: A100 (80), H100 and H200 (90), B200 (100)."""
    return communicator(GroupNode(gpus, cc, Fabric.NVSWITCH, NVLINK[cc], pcie=PCIE[cc], nics=nics), nodes)


def mesh(gpus: int, links: object, nics: tuple[float, ...] = (), nodes: int = 1) -> CommunicatorShape:
    """V100 with six NVLinks."""
    part = tuple(tuple(row[:gpus]) for row in links[:gpus])  # type: ignore[index]
    return communicator(GroupNode(gpus, 70, Fabric.MESH, 120.0, 20.0, part, nics=nics), nodes)


def pcie(gpus: int, cc: int, rate: float, vendor: CpuVendor = CpuVendor.INTEL, peer: float = 0.0) -> CommunicatorShape:
    """Cards in slots; ``peer`` is the slowest part of the way between neighbours if not the slot."""
    return communicator(GroupNode(gpus, cc, Fabric.PCIE, pcie=rate, peer_path=peer or rate, cpu_vendor=vendor), 1)


VTRAIN_A100 = "8x A100 node (interconnect not in the file; NVLink per the paper)"
VTRAIN_V100 = "8x V100 node (interconnect not in the file; NVLink per the paper)"
UNSTATED = "not stated (plot is named 4 nodes; busbw/algbw = 1.9375 = 32 ranks)"
HDR, NDR = (25.0,), (50.0,)


def runs(files: list[str]) -> list[Run]:
    """Every run with the machine it was measured on: a table, long as the list of sources."""
    gather, scatter = CollectiveKind.ALL_GATHER, CollectiveKind.REDUCE_SCATTER
    broadcast = CollectiveKind.BROADCAST
    a100, h100, b200 = "nccl_a100_nvswitch", "nccl_h100_nvswitch", "nccl_b200_nvswitch"
    v100, ib, efa = "nccl_v100_nvlink", "nccl_infiniband", "nccl_efa"
    hopper = [f for f in files if f.startswith(("h100", "h200")) and "1node_8gpu_all_reduce" in f]
    return [
        Run(a100, "a100_abci_1node_4gpu_all_reduce.txt", nvswitch(4, 80), "2.8.4"),
        Run(a100, "a100_abci_1node_8gpu_all_reduce.txt", nvswitch(8, 80), "2.8.4"),
        Run(a100, "8x A100 SXM, one node", nvswitch(8, 80), "2.18"),
        Run(a100, "Azure ND96asr/amsr A100 v4 (8x A100 SXM)", nvswitch(8, 80), "2.18.5"),
        *(Run(a100, VTRAIN_A100, nvswitch(n, 80), "2.18") for n in range(2, 9)),
        Run(a100, "a100_abci_1node_8gpu_broadcast.txt", nvswitch(8, 80), "2.8.4", broadcast, True),
        *(Run(h100, f, nvswitch(8, 90), "2.23.4" if "h200" in f else "2.20.5") for f in hopper),
        Run(h100, "Azure ND96isr H100 v5 (8x H100 SXM)", nvswitch(8, 90), "2.18.5"),
        Run(h100, "Azure ND96isr H200 v5 (8x H200 SXM)", nvswitch(8, 90), "2.20.5"),
        Run(h100, "8x H200 SXM, one node", nvswitch(8, 90), "2.27.7"),
        Run(h100, "8x H200 node", nvswitch(4, 90), "2.27.7"),
        Run(h100, "8x H200 node", nvswitch(8, 90), "2.27.7", gather, True),
        Run(h100, "8x H200 node", nvswitch(8, 90), "2.27.7", scatter, True),
        Run(b200, "b200_vultr_1node_8gpu_all_reduce.txt", nvswitch(8, 100), "2.27.7"),
        Run(b200, "1x AWS P6-B200", nvswitch(8, 100), "2.27.7"),
        Run(b200, "b200_vultr_1node_8gpu_all_gather.txt", nvswitch(8, 100), "2.27.7", gather),
        Run(b200, "b200_vultr_1node_8gpu_reduce_scatter.txt", nvswitch(8, 100), "2.27.7", scatter),
        *(Run(v100, VTRAIN_V100, mesh(n, DGX1), "2.18") for n in range(2, 9)),
        Run(v100, "v100_abci_1node_4gpu_all_reduce.txt", mesh(4, FOUR_V100), "2.8.4"),
        Run(v100, "v100_abci_1node_4gpu_broadcast.txt", mesh(4, FOUR_V100), "2.8.4", broadcast, True),
        Run("nccl_pcie", "rtx4090_1node_4gpu_all_reduce.txt", pcie(4, 89, 24.0, CpuVendor.AMD), "2.18.5"),
        Run("nccl_pcie", "v100pcie_bessemer_1node_4gpu_all_reduce.txt", pcie(4, 70, 12.0), "2.8.4"),
        Run("nccl_k80_pcie", "k80_azure_1node_4gpu_all_reduce.txt", pcie(4, 37, 12.0, peer=7.2), "2.8.4"),
        Run(ib, "v100_abci_2node_8gpu_all_reduce.txt", mesh(4, FOUR_V100, (12.5,) * 2, 2), "2.8.4"),
        Run(ib, "v100_abci_8node_32gpu_all_reduce.txt", mesh(4, FOUR_V100, (12.5,) * 2, 8), "2.8.4"),
        Run(ib, "a100_oci_oke_2node_16gpu_all_reduce_excerpt.txt", nvswitch(8, 80, HDR * 8, 2), "2.25.1"),
        Run(ib, "h100_dgx_2node_8gpu_all_reduce.txt", nvswitch(4, 90, NDR * 4, 2), "2.20.5"),
        Run(ib, "h100_oci_2node_16gpu_all_reduce_excerpt.txt", nvswitch(8, 90, NDR * 8, 2), "2.23.4"),
        Run(ib, "h100_coreweave_12node_96gpu_all_reduce_excerpt.txt", nvswitch(8, 90, NDR * 8, 12), "2.20.5"),
        Run(ib, "2x Nebius 8x H100, InfiniBand", nvswitch(8, 90, NDR * 8, 2), "2.20.5"),
        # The number of NICs in use is not stated and the plateau says fewer than eight (or one, on ABCI).
        Run(ib, "a100_coreweave_4node_32gpu_all_reduce_2023.txt", nvswitch(8, 80, HDR * 8, 4), "2.18.5", held_out=True),
        Run(ib, UNSTATED, nvswitch(8, 80, HDR * 8, 4), "2.18.5", held_out=True),
        Run(ib, "a100_abci_2node_16gpu_all_reduce.txt", nvswitch(8, 80, HDR * 4, 2), "2.8.4", held_out=True),
        Run(ib, "a100_abci_8node_64gpu_all_reduce.txt", nvswitch(8, 80, HDR * 4, 8), "2.8.4", held_out=True),
        Run(ib, "v100_abci_2node_8gpu_broadcast.txt", mesh(4, FOUR_V100, (12.5,) * 2, 2), "2.8.4", broadcast, True),
        Run(efa, "a100_p4de.24xlarge_2node_16gpu_all_reduce.txt", nvswitch(8, 80, (12.5,) * 4, 2), "2.18.5"),
        Run(efa, "h200_p5en.48xlarge_128gpu_all_reduce_excerpt.txt", nvswitch(8, 90, HDR * 16, 16), "2.23.4"),
        Run(efa, "4x AWS P6-B200", nvswitch(8, 100, NDR * 8, 4), "2.27.7"),
        Run("nccl_ethernet", "v100_p3dn.24xlarge_2node_16gpu_all_reduce.txt", mesh(8, DGX1, (12.5,), 2), "2.7.8",
            ring_only=True),
    ]  # fmt: skip


DOES_NOT_CLAIM = {
    "nccl_a100_nvswitch": "small sizes differ twofold between providers (20 us to 45 us at 1 KiB)",
    "nccl_h100_nvswitch": "small sizes differ twofold between providers (13 us to 30 us at 1 KiB)",
    "nccl_b200_nvswitch": "the graph of a B200 board is reckoned, not read from a log",
    "nccl_v100_nvlink": "measured on 8-GPU cube meshes and one 4-GPU full mesh",
    "nccl_pcie": "two machines of four cards, RTX 4090 (PCIe 4) and V100 (PCIe 3)",
    "nccl_k80_pcie": "one cloud machine at 32 MiB and above; latency terms are those of nccl_pcie",
    "nccl_infiniband": "machines whose number of network cards is not stated were left out",
    "nccl_efa": "AWS EFA: p4de, p5en and P6-B200",
    "nccl_ethernet": "one pair of 100 Gb/s machines over EFA with an old NCCL; no kernel TCP log was at hand",
}


CREDITS = {
    "abci": "aistabci/abci2.0benchmark",
    "8x A100 SXM": "stas00/ml-engineering network/README.md",
    "8x H200": "stas00/ml-engineering network/README.md",
    "AWS P6": "stas00/ml-engineering network/README.md",
    "Azure ND": "Azure/AI-benchmarking-guide Azure_Results",
    "per the paper": "VIA-Research/vTrain trace",
    "mlperf40_oracle": "mlcommons/training_results_v4.0 Oracle, ResNet-50",
    "mlperf40_smc": "mlcommons/training_results_v4.0 Supermicro, BERT",
    "a3ultra": "mlcommons/training_results_v5.0 Google, Stable Diffusion",
    "dgxc": "NVIDIA/dgxc-benchmarking nccl/README.md",
    "h100_dgx_1node": "a README on one DGX H100, CUDA 12.4",
    "h100_dgx_2node": "notes on two DGX H100",
    "p5.48xlarge": "aws-samples/awsome-distributed-training micro-benchmarks/nccl-tests",
    "p5en": "aws-samples/awsome-distributed-training micro-benchmarks/nccl-tests",
    "p4de": "aws-samples/awsome-distributed-training micro-benchmarks/nccl-tests",
    "vultr": "test summary of a Vultr HGX B200, 2026-05",
    "rtx4090": "README of a driver that enables PCIe peer access on RTX 4090",
    "bessemer": "University of Sheffield HPC documentation, Bessemer",
    "k80_azure": "Azure/azureml-examples gpu_perf README",
    "oci": "oracle-quickstart/oci-hpc and oci-hpc-oke",
    "coreweave": "coreweave/nccl-tests README.md",
    "Nebius": "drmysore/nebius-h100-16gpu-benchmark README",
    "p3dn": "AWS Deep Learning AMI guide, Using EFA",
}


def credit(source: str) -> str:
    """Who published a run."""
    return next((text for part, text in CREDITS.items() if part in source), source)


Tables = Sequence[Mapping[str, str]]


def measured(run: Run, logs: Mapping[str, CollectiveLog], published: Tables) -> list[tuple[float, float]]:
    """(bytes, seconds) of a run: the better of out-of-place and in-place."""
    if run.source in logs:
        return logs[run.source].timed()
    factor = bus_factor(run.kind.value, run.shape.ranks)
    found = []
    for row in published:
        if (row["machine"], row["gpus"], row["collective"]) != (run.source, str(run.shape.ranks), run.kind.value):
            continue
        size = float(row["size_bytes"])
        if row["time_us"]:
            found.append((size, float(row["time_us"]) * 1e-6))
        else:
            bus = float(row["busbw_GBps"] or float(row["algbw_GBps"]) * factor)
            found.append((size, size / (bus * 1e9 / factor)))
    return found


def modelled_choice(run: Run, size: float) -> Choice:
    """NCCL's own choice."""
    constants = tables(run.version)
    if not run.ring_only:
        return choose(run.kind, size, run.shape, constants)
    rows = [row for row in estimates(run.kind, run.shape, constants) if row.algorithm is Algorithm.RING]
    return min((at_size(run.kind, row, size, run.shape, constants) for row in rows), key=lambda c: c.time_us)


def collect(folder: Path) -> list[tuple[Run, list[Modelled]]]:
    """Every run with its rows."""
    paths = sorted((folder / "nccl-tests").glob("*.txt"))
    logs = {path.name: parse_nccl_tests(read_log(path), path.name) for path in paths}
    with (folder / "allreduce_tables.csv").open(encoding="utf-8", newline="") as file:
        published = list(csv.DictReader(file))
    found = []
    for run in runs(list(logs)):
        name = f"{run.source} {run.shape.ranks} {run.kind.value}"
        rows = [
            modelled(name, size, time, modelled_choice(run, size), run.shape.ranks)
            for size, time in measured(run, logs, published)
        ]
        found.append((run, rows))
    return found


TCP_SHARE, TCP_NIC = 0.95, 12.5e9


def spread(rows: Sequence[Modelled], coefficients: np.ndarray, large: bool) -> tuple[int, float, float]:
    """(rows, median, worst) of |ln(predicted / measured)| at or above 1 MiB, or below."""
    part = [row for row in rows if (row.size_bytes >= MIB) == large]
    if not part:
        return 0, math.nan, math.nan
    error = abs(np.log(predicted_seconds(coefficients, part) / np.array([row.seconds for row in part])))
    return len(part), float(np.median(error)), float(error.max())


HEADER = f"{'fit':22}{'rows':>6}{'median':>8}{'worst':>8}{'rows':>8}{'median':>8}{'worst':>8}\n"


def table_line(name: str, rows: Sequence[Modelled], coefficients: np.ndarray) -> str:
    """Rows, median and worst absolute error by logarithm, at 1 MiB and above, then below."""
    large, small = spread(rows, coefficients, True), spread(rows, coefficients, False)
    return f"{name[:60]:22}{large[0]:>6}{large[1]:>8.3f}{large[2]:>8.3f}{small[0]:>8}{small[1]:>8.3f}{small[2]:>8.3f}\n"


def document(name: str, coefficients: np.ndarray, rows: Sequence[Modelled], sources: Sequence[str]) -> str:
    """The fit as a YAML file."""
    fit: NcclFit = nccl_fit(name, coefficients, rows, sorted(set(map(credit, sources))))
    if name == "nccl_ethernet":
        # One fast NIC was measured: what it lost is the limit of a stream, not a share of any line rate.
        nic = fit.bandwidth_scale / TCP_SHARE * TCP_NIC
        fit = replace(fit, bandwidth_scale=TCP_SHARE, nvls_scale=TCP_SHARE, nic_bytes_per_s=nic)
    fit = replace(fit, provenance=replace(fit.provenance, does_not_claim=DOES_NOT_CLAIM[name]))
    return communication_text(fit, "Correction to NCCL's model; regenerated by calibrate/fit_communication.py.")


GLOO_SOURCE = "gloo/gloo_tcp_4node_allreduce_ring.txt"
GLOO_COMMENT = """gloo over TCP; regenerated by calibrate/fit_communication.py.
# Fitted: step and connection. Not in the data: the call's overhead (two ranks on one machine reach 0.2 ms a call,
# meta-pytorch/torchft pull request 199), the rate of summing on one CPU thread and of staging copies (PCIe 3)."""
GLOO_CREDIT = "benchmark of gloo in the README of a multi-rail fork (hydra): 4 nodes, one process each, all-reduce ring"
GLOO_CLAIM = "one TCP cluster of four; a virtual machine's network is slower at small sizes"


def gloo_report(folder: Path, write: bool) -> str:
    """Fit the cost of a step and the rate of a connection; the other constants stay as they are."""
    log = replace(parse_gloo(read_log(folder / GLOO_SOURCE), GLOO_SOURCE), source=GLOO_CREDIT)
    fit = fit_gloo("gloo_tcp", [log], load_gloo_fit())
    fit = replace(fit, provenance=replace(fit.provenance, does_not_claim=GLOO_CLAIM))
    if write:
        (OUTPUT / "gloo_tcp.yaml").write_text(communication_text(fit, GLOO_COMMENT), encoding="utf-8")
    spreads = fit.provenance
    return (
        f"{'gloo_tcp':22}{spreads.rows:>6} rows, spread {spreads.large_log_spread:.3f} from 1 MiB on and "
        f"{spreads.small_log_spread:.3f} below; step {fit.step_s * 1e6:.0f} us, "
        f"connection {fit.connection_bytes_per_s / 1e9:.2f} GB/s\n"
    )


def main(arguments: list[str]) -> int:
    """Fit every class, print residuals, write files."""
    if not arguments or not Path(arguments[0]).is_dir():
        sys.stderr.write(__doc__ or "")
        return 2
    data = collect(Path(arguments[0]))
    sys.stdout.write(f"{'':28}>= 1 MiB{'':>18}< 1 MiB\n{HEADER}")
    found: dict[str, np.ndarray] = {}
    used: dict[str, list[Modelled]] = {}
    for name in dict.fromkeys(run.fit for run, _ in data):
        fitted = [(run.source, rows) for run, rows in data if run.fit == name and not run.held_out]
        used[name] = [row for _, rows in fitted for row in rows]
        found[name] = fit_corrections(used[name], found["nccl_pcie"] if name == "nccl_k80_pcie" else None)
        sys.stdout.write(table_line(name, used[name], found[name]))
        if "--write" in arguments:
            text = document(name, found[name], used[name], [source for source, _ in fitted])
            (OUTPUT / f"{name}.yaml").write_text(text, encoding="utf-8")
    sys.stdout.write(gloo_report(Path(arguments[0]), "--write" in arguments))
    sys.stdout.write("\nheld out (fit: run)\n")
    for run, rows in data:
        if run.held_out:
            sys.stdout.write(table_line(f"{run.fit}: {rows[0].run}\n{'':22}", rows, found[run.fit]))
    sys.stdout.write("\ncoefficients: overhead us, latency scale, bandwidth scale, NVLS scale, ramp us\n")
    for name, coefficients in found.items():
        sys.stdout.write(f"{name:22}" + "".join(f"{x:10.3f}" for x in np.exp(coefficients)) + "\n")
    sys.stdout.write(f"\nwithout any fit\n{HEADER}")
    plain = np.log([1e-9, 1.0, 1.0, 1.0, 1e-9])
    for name, rows in used.items():
        sys.stdout.write(table_line(name, rows, plain))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
