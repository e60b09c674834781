"""Predict all-reduce on more nodes of a machine from its logs on one and two, and sizes between measured sizes.

    python calibrate/extrapolate_nodes.py MEASURED_FOLDER

``MEASURED_FOLDER`` holds ``nccl-tests/`` (logs as printed), ``deepbench_allreduce.csv`` and ``allreduce_tables.csv``.
Prints a table of every size of 1 MiB and more with the worst row of each machine, then the errors of sizes that were
left out of a curve. Nothing measured on more than two nodes is fitted.
"""

from __future__ import annotations

import csv
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from simdml.calibration.fitting.measured_curve import interpolation_errors
from simdml.calibration.logs.lines import read_log
from simdml.calibration.logs.nccl_tests import parse_nccl_tests
from simdml.costs.fitting.more_nodes import Machine, MoreNodesFit, fit_more_nodes

MIB = 2**20
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Case:
    """A machine with its measurements by number of nodes."""

    name: str
    machine: Machine
    measured: Mapping[int, Points]


@dataclass(frozen=True)
class Row:
    """One prediction."""

    case: str
    nodes: int
    size: float
    measured_s: float
    predicted_s: float

    @property
    def error(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted_s / self.measured_s - 1.0


SOURCES = """Regenerate with: python calibrate/extrapolate_nodes.py MEASURED_FOLDER
Measured by others: ABCI, aistabci/abci2.0benchmark; DeepBench, baidu-research/DeepBench results/train; the sweeps
below by those whom calibrate/communication names. Predictions come from one and two nodes alone. These are all machines
with an all-reduce by NCCL on two nodes and on more; DeepBench prints the fastest library of each size, and the sizes
where that was another one are named.
"""
ABCI = {
    "ABCI A100": (Machine(8, 80, True, "2.8.4"), "a100_abci_{}node_{}gpu_all_reduce.txt", ((1, 8), (2, 16), (8, 64))),
    "ABCI V100": (Machine(4, 70, True, "2.8.4"), "v100_abci_{}node_{}gpu_all_reduce.txt", ((1, 4), (2, 8), (8, 32))),
}
DEEPBENCH = {"M40": 52, "TitanX": 52, "TitanX_Pascal": 61, "1080Ti": 61}
"""Eight cards in PCIe slots a node, NCCL 2.0 (no trees yet): compute capability."""


def cases(folder: Path) -> list[Case]:
    """Return every machine with logs on two nodes and on more, all with NCCL."""
    found = []
    for name, (machine, pattern, sizes) in ABCI.items():
        logs = {nodes: folder / "nccl-tests" / pattern.format(nodes, gpus) for nodes, gpus in sizes}
        measured = {nodes: parse_nccl_tests(read_log(path), path.name).timed() for nodes, path in logs.items()}
        found.append(Case(name, machine, measured))
    rows = table(folder / "deepbench_allreduce.csv")
    for card, capability in DEEPBENCH.items():
        by_nodes: dict[int, list[tuple[float, float]]] = {1: [], 2: [], 4: []}
        for row in rows:
            ranks = int(row["ranks"])
            if row["gpu_file"] == f"NV_{card}" and ranks in (8, 16, 32) and row["algorithm"] == "NCCL 2.0 MPI":
                by_nodes[ranks // 8].append((float(row["bytes"]), float(row["mean_time_ms"]) * 1e-3))
        found.append(Case(f"DeepBench {card}", Machine(8, capability, False, "2.0.5"), by_nodes))
    return found


def table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def by_other_libraries(folder: Path) -> list[str]:
    """Return a line for every size of DeepBench's on two and four nodes that NCCL did not run."""
    return [
        f"    left out, by {row['algorithm']}: {row['gpu_file'].removeprefix('NV_')}, {int(row['ranks']) // 8} nodes, "
        f"{float(row['bytes']) / MIB:.1f} MiB"
        for row in table(folder / "deepbench_allreduce.csv")
        if row["gpu_file"].removeprefix("NV_") in DEEPBENCH
        and int(row["ranks"]) in (16, 32)
        and float(row["bytes"]) >= MIB
        and not row["algorithm"].startswith("NCCL")
    ]


def predict(case: Case) -> tuple[MoreNodesFit, list[Row]]:
    """Fit one and two nodes, and predict what was measured on more at 1 MiB and above."""
    fit = fit_more_nodes(case.machine, case.measured[2], case.measured.get(1, ()))
    rows = [
        Row(case.name, nodes, size, seconds, fit.seconds(size, nodes))
        for nodes, points in case.measured.items()
        for size, seconds in points
        if nodes > 2 and size >= MIB
    ]
    return fit, rows


def sweeps(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Return every published all-reduce sweep with six sizes or more from 256 KiB on."""
    found: dict[str, list[tuple[float, float]]] = {}
    for path in sorted((folder / "nccl-tests").glob("*.txt")):
        log = parse_nccl_tests(read_log(path), path.name)
        if log.collective == "all_reduce":
            found[path.stem] = log.timed()
    for row in table(folder / "allreduce_tables.csv"):
        if row["collective"] != "all_reduce" or not (row["time_us"] or row["busbw_GBps"]):
            continue
        ranks, size = int(row["gpus"]), float(row["size_bytes"])
        if row["time_us"]:
            seconds = float(row["time_us"]) * 1e-6
        else:
            seconds = size * 2 * (ranks - 1) / ranks / float(row["busbw_GBps"]) / 1e9
        found.setdefault(f"{row['machine'][:40]}, {ranks} GPUs", []).append((size, seconds))
    large = {name: [point for point in points if point[0] >= MIB / 4] for name, points in found.items()}
    return {name: points for name, points in large.items() if len(dict(points)) >= 6}


def line(rows: Sequence[Row]) -> str:
    """Median, worst and the row it belongs to."""
    worst = max(rows, key=lambda row: abs(row.error))
    median = statistics.median(abs(row.error) for row in rows)
    return (
        f"{len(rows)} rows, median {median:.1%}, worst {worst.error:+.1%} "
        f"({worst.case}, {worst.nodes} nodes, {worst.size / MIB:g} MiB)"
    )


def report(folder: Path) -> str:
    """Return both tables."""
    lines, every = [SOURCES], []
    for case in cases(folder):
        fit, rows = predict(case)
        lines.append(
            f"{case.name}: {fit.algorithm.name.lower()}, overhead {fit.overhead_s * 1e6:.1f} us, "
            f"latency x {fit.latency_scale:.2f}, network {fit.network_bytes_per_s / 1e9:.2f} GB/s a node, "
            f"ramp {fit.ramp_s * 1e6:.1f} us; residual on two nodes {fit.log_spread:.1%}"
        )
        lines += [
            f"    {row.nodes:>3} nodes {row.size / MIB:>8.1f} MiB  measured {row.measured_s * 1e3:>9.3f} ms"
            f"  predicted {row.predicted_s * 1e3:>9.3f} ms  {row.error:+7.1%}"
            for row in rows
        ]
        lines.append(f"    {line(rows)}")
        every += rows
    lines += [f"more nodes, all machines: {line(every)}", *by_other_libraries(folder), ""]
    errors = {name: interpolation_errors(points, MIB) for name, points in sweeps(folder).items()}
    lines += [
        f"{name[:58]:60}{len(found):>4} sizes, median {statistics.median(map(abs, found)):6.1%},"
        f" worst {max(found, key=abs):+7.1%}"
        for name, found in errors.items()
    ]
    flat = [abs(error) for found in errors.values() for error in found]
    lines.append(
        f"sizes left out, all sweeps: {len(flat)}, median {statistics.median(flat):.1%}, worst {max(flat):.1%}"
    )
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Print the report."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        sys.stderr.write(__doc__ or "")
        return 2
    sys.stdout.write(report(Path(arguments[0])) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
