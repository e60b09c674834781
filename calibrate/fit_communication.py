"""Fit the corrections to NCCL's model, and gloo's constants, from published measurements.

    python calibrate/fit_communication.py MEASURED_FOLDER [--write] [--leave-out]

``MEASURED_FOLDER`` holds ``nccl_tests_rows.csv`` (the rows of nccl-tests' logs), ``allreduce_tables.csv`` (further
published sweeps) and ``gloo/`` (output of gloo's benchmark). Rows are put on clusters as ``simdml validate runs`` puts
them, and each counts for the fit that predicts it. Prints a table of residuals; with ``--write`` replaces the files in
``calibrate/communication``, with ``--leave-out`` predicts every publisher's rows by a fit of the others'. Runs marked
held out are predicted, not fitted.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from simdml.calibration.communication import UNCORRECTED, CommunicationFit, NcclFit
from simdml.calibration.communication_file import load_gloo_fit
from simdml.calibration.fitting.communication_text import communication_text
from simdml.calibration.logs.gloo import parse_gloo
from simdml.calibration.logs.lines import read_log
from simdml.costs.collectives.nccl import nccl_cost
from simdml.costs.collectives.plan import CollectiveKind
from simdml.costs.fitting.by_protocol import fit_by_protocol, seconds_by
from simdml.costs.fitting.collectives import Modelled, fit_gloo, modelled, provenance_of
from simdml.validation.runs.collectives import collective_of, communicator_of
from simdml.validation.runs.reading import Row, Unusable, read_table
from simdml.validation.runs.sites import call_s

OUTPUT = Path(__file__).parent / "communication"
TABLES = ("nccl_tests_rows.csv", "allreduce_tables.csv")
MIB = 2**20
SENT = (CollectiveKind.ALL_TO_ALL, CollectiveKind.SHIFT)
PLAIN = CommunicationFit(UNCORRECTED, UNCORRECTED)

HELD_OUT = (
    # Which NICs were in use is not stated, and the plateau says fewer or slower ones than the machine has.
    r"a100_abci_[28]node",
    r"a100_coreweave_4node",
    # Two racks are bound inside each, by NVLink, and no fit between nodes follows from them.
    r"gb200_coreweave_2rack",
    # Kept to see what a fit of all-reduces says of other collectives.
    r"broadcast",
    r"8x H200 node 8 (all_gather|reduce_scatter)",
)
SMALL_ONLY = {r"a100_abci_[28]node.*all_reduce": 2**16, r"a100_coreweave_4node_32gpu_all_reduce_2023": 2**25}
"""Held out from these sizes on: what is smaller is far from the plateau, whatever number of NICs makes it."""
COLD = r"4x AWS P6-B200", 2**18
"""The first rows of a sweep that had not warmed up: 6.3 ms at 32 KiB and 0.4 ms at 256 KiB."""


def described(row: Row) -> str:
    """What a row's run is called: its log or machine, ranks and collective."""
    return f"{row.text('gpu')} {row.text('num_gpus')} {row.text('collective')}"


def held_out(row: Row) -> bool:
    """Whether a row is predicted, not fitted."""
    name, size = described(row), row.number("size_bytes") or 0.0
    if re.search(COLD[0], name) and size < COLD[1]:
        return True
    if any(re.search(pattern, name) and size < least for pattern, least in SMALL_ONLY.items()):
        return False
    return any(re.search(pattern, name) for pattern in HELD_OUT)


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


def row_of(row: Row) -> tuple[str, Modelled] | None:
    """The name of the fit that predicts a row, and what NCCL's model says of it; None for sends and unusable rows."""
    seconds = row.measured_s
    try:
        there = communicator_of(row)
        kind, size = collective_of(row)
    except Unusable:
        return None
    if kind in SENT or seconds is None:
        return None
    cost = nccl_cost(there.cluster, PLAIN, there.version)
    model = cost.chosen(kind, there.members, size, there.allowed)
    found = modelled(described(row), (size, seconds - call_s(row)), kind, *model)
    plan = cost.plan_by(kind, there.members, size, there.allowed)
    capacity = there.cluster.links.capacity_bytes_per_s[list(plan.links)]
    least_s = float((size * np.array(plan.weights) / capacity).max(initial=0.0))
    across = len({there.cluster.node_of(gpu) for gpu in there.members}) > 1
    return there.fits[across], replace(found, least_wire_s=least_s)


def collect(folder: Path) -> dict[str, list[tuple[Modelled, bool]]]:
    """By fit, its rows and whether each is held out."""
    found: dict[str, list[tuple[Modelled, bool]]] = {}
    for table in TABLES:
        for row in read_table(folder / table).rows:
            modelled = row_of(row)
            if modelled is not None:
                found.setdefault(modelled[0], []).append((modelled[1], held_out(row)))
    return dict(sorted(found.items(), key=lambda each: (each[0] == "nccl_k80_pcie", each[0])))


def fitted(name: str, rows: Sequence[Modelled], known: NcclFit | None = None) -> NcclFit:
    """The fit of ``rows``; K80's, at 32 MiB and above, has all but its rate from the other PCIe machines."""
    fit = fit_by_protocol(name, rows, known)
    errors = np.log([seconds_by(fit, row) / row.seconds for row in rows])
    sizes = np.array([row.size_bytes for row in rows])
    sources = sorted({credit(row.run) for row in rows})
    provenance = provenance_of(sources, sizes, errors, max(row.ranks for row in rows))
    fit = replace(fit, provenance=replace(provenance, does_not_claim=DOES_NOT_CLAIM[name]))
    if name != "nccl_ethernet":
        return fit
    # One fast NIC was measured: what it lost is the limit of a stream, not a share of any line rate.
    nic, wires = fit.bandwidth_scale / TCP_SHARE * TCP_NIC, (fit.ll, fit.ll128)
    ll, ll128 = (wire and replace(wire, scale=wire.scale * TCP_NIC / nic) for wire in wires)
    return replace(fit, bandwidth_scale=TCP_SHARE, nvls_scale=TCP_SHARE, ll=ll, ll128=ll128, nic_bytes_per_s=nic)


TCP_SHARE, TCP_NIC = 0.95, 12.5e9
HEADER = f"{'':62}{'from 1 MiB on':>24}{'below':>24}\n{'':62}" + f"{'rows':>8}{'mean':>8}{'worst':>8}" * 2 + "\n"


def table_line(name: str, rows: Iterable[tuple[Modelled, float]]) -> str:
    """Rows, mean and worst absolute error of predictions, at 1 MiB and above, then below."""
    pairs = [(row.size_bytes >= MIB, abs(seconds / row.seconds - 1)) for row, seconds in rows]
    line = f"{name[:60]:62}"
    for large in (True, False):
        part = [error for side, error in pairs if side == large]
        line += f"{len(part):8}" + (f"{np.mean(part):8.3f}{max(part):8.3f}" if part else f"{'-':>8}{'-':>8}")
    return line + "\n"


def lines(title: str, rows: Sequence[tuple[Modelled, float]]) -> str:
    """A line of all of ``rows``, and one a run."""
    runs = dict.fromkeys(row.run for row, _ in rows)
    parts = [table_line(f"  {run}", [each for each in rows if each[0].run == run]) for run in runs]
    return "".join([table_line(title, rows), *parts])


def left_out(name: str, rows: Sequence[Modelled], known: NcclFit | None) -> list[tuple[Modelled, float]]:
    """Every publisher's rows as a fit of the others' predicts them; nothing for a fit of one publisher."""
    found = []
    for source in sorted({credit(row.run) for row in rows}):
        others = [row for row in rows if credit(row.run) != source]
        if others:
            fit = fit_by_protocol(name, others, known)
            found += [(row, seconds_by(fit, row)) for row in rows if credit(row.run) == source]
    return found


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
    sys.stdout.write(HEADER)
    fits: dict[str, NcclFit] = {}
    for name, rows in collect(Path(arguments[0])).items():
        used = [row for row, held in rows if not held]
        known = fits["nccl_pcie"] if name == "nccl_k80_pcie" else None
        fit = fits[name] = fitted(name, used, known)
        plain = fit_by_protocol(name, used, known)
        sys.stdout.write(lines(name, [(row, seconds_by(plain, row)) for row in used]))
        kept = [(row, seconds_by(plain, row)) for row, held in rows if held]
        sys.stdout.write(lines("  held out", kept) if kept else "")
        if "--leave-out" in arguments:
            sys.stdout.write(lines("  each publisher by the others", left_out(name, used, known)))
        text = communication_text(fit, "Correction to NCCL's model; regenerated by calibrate/fit_communication.py.")
        sys.stdout.write("".join(f"{line}\n" for line in text.splitlines() if "scale" in line or "ramp" in line))
        if "--write" in arguments:
            (OUTPUT / f"{name}.yaml").write_text(text, encoding="utf-8")
    sys.stdout.write(gloo_report(Path(arguments[0]), "--write" in arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
