"""Measure every case, each in a process of its own, and write the table into ``benchmarks/README.md``.

``python benchmarks/table.py`` takes a few minutes; ``--sweep`` adds the thousand scenarios, ``--only KEY`` prints one
case and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from threading import Timer
from typing import Any

import reference
from cases import CASES

HERE = Path(__file__).parent
README = HERE / "README.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
LONGEST_S = 180.0
"""No case may take longer, so that the table ends."""
SWEEP_LONGEST_S = 900.0
COLD_RUNS = 5


@dataclass(frozen=True, slots=True)
class Measured:
    """A row: seconds the first time and in the median of ``rounds``, peak memory, counts, or why there are none."""

    name: str
    at_most_s: float
    median_s: float = 0.0
    first_s: float = 0.0
    rounds: int = 0
    peak_bytes: float = 0.0
    at_most_bytes: float = 0.0
    events: int | None = None
    classes: int | None = None
    solves: int | None = None
    failure: str = ""

    def cells(self) -> list[str]:
        """Return the cells of the table's row."""
        if self.failure:
            return [self.name, _time(self.at_most_s), f"**{self.failure}**", *[""] * 7]
        target = _time(self.at_most_s) + (f", {self.at_most_bytes / 1e6:.0f} MB" if self.at_most_bytes else "")
        counts = ["" if number is None else f"{number:,}" for number in (self.events, self.classes, self.solves)]
        figures = [_time(self.median_s), _time(self.first_s), str(self.rounds), f"{self.peak_bytes / 1e6:.0f} MB"]
        return [self.name, target, *figures, *counts, self.verdict()]

    def verdict(self) -> str:
        """Say whether the row is within its target."""
        if self.at_most_bytes and self.peak_bytes > self.at_most_bytes:
            return "**over (memory)**"
        if self.median_s > self.at_most_s:
            return f"**over, {self.median_s / self.at_most_s:.1f} x**"
        return "yes" if self.first_s <= self.at_most_s else "yes, the first time no"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 0.1 else f"{seconds:.3g} s"


def main() -> None:
    """Measure what is asked for."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sweep", action="store_true", help="also sweep a thousand scenarios")
    options.add_argument("--only", metavar="KEY", choices=[case.key for case in CASES], help="one case; writes nothing")
    asked = options.parse_args()
    if asked.only:
        print(json.dumps(_in_a_process(asked.only), indent=1))
        return
    loops = [_loops()]
    rows = [_case(case.key, case.name, case.at_most_s) for case in CASES]
    rows.append(_thousand(wanted=asked.sweep))
    rows.append(_quickstart())
    loops.append(_loops())
    _write(rows, loops)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}


def _in_a_process(key: str) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "one_case.py"), key]
    done = subprocess.run(command, check=True, timeout=LONGEST_S, capture_output=True, text=True, env=_environment())
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _case(key: str, name: str, at_most_s: float) -> Measured:
    row = Measured(name, at_most_s)
    try:
        row = replace(row, **_in_a_process(key))
    except subprocess.TimeoutExpired:
        row = replace(row, failure=f"not done in {LONGEST_S:.0f} s")
    except subprocess.CalledProcessError as error:
        _say(error.stderr)
        row = replace(row, failure="failed")
    _say(f"{key}: {row.failure or _time(row.median_s)}")
    return row


def _loops() -> tuple[float, float]:
    """Return events a second of the two reference loops."""
    found = reference.per_second(reference.heapq_events), reference.per_second(reference.simpy_timeouts)
    _say(f"heapq {found[0]:,.0f} a second, SimPy timeouts {found[1]:,.0f} a second")
    return found


def _thousand(*, wanted: bool) -> Measured:
    row = Measured("1,000 different scenarios, `simdml sweep`, 2 processes, cold", 60.0)
    if not wanted:
        return replace(row, failure="not measured: --sweep")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "thousand.yaml"
        made = subprocess.run([sys.executable, str(HERE / "sweep_scenarios.py")], check=True, capture_output=True)
        file.write_bytes(made.stdout)
        command = ["sweep", str(file), "--jobs", "2", "--out", str(Path(folder) / "points")]
        seconds, peak_bytes = _whole_process(command, SWEEP_LONGEST_S)
    _say(f"sweep: {_time(seconds)}")
    return replace(row, median_s=seconds, first_s=seconds, peak_bytes=peak_bytes)


def _quickstart() -> Measured:
    runs = [_whole_process(["run", "quickstart"], LONGEST_S) for _ in range(1 + COLD_RUNS)]
    first, *others = (seconds for seconds, _ in runs)
    _say(f"quickstart: {_time(median(others))}")
    return Measured(
        "`simdml run quickstart`, whole process, cold",
        1.0,
        median_s=median(others),
        first_s=first,
        rounds=COLD_RUNS,
        peak_bytes=max(peak_bytes for _, peak_bytes in runs),
        at_most_bytes=250e6,
    )


def _whole_process(arguments: list[str], longest_s: float) -> tuple[float, float]:
    """Return wall seconds and peak memory (bytes) of a simdml process, of the largest one where it starts others.

    Raises:
        SystemExit: it failed, or took longer than ``longest_s`` and was ended.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "simdml", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_environment(),
    )
    ending = Timer(longest_s, process.terminate)
    ending.start()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    ending.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"simdml {arguments[0]} ended with {process.returncode} after {seconds:.0f} s")
    return seconds, used.ru_maxrss * 1024.0


def _write(rows: list[Measured], loops: list[tuple[float, float]]) -> None:
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    text = "\n".join([BEGIN, *_machine(loops), "", *_lines(rows), END])
    README.write_text(before + text + after, encoding="utf-8")


def _machine(loops: list[tuple[float, float]]) -> list[str]:
    (heap_before, simpy_before), (heap_after, simpy_after) = loops
    return [
        f"Python {platform.python_version()}, SimPy {version('simpy')}, numpy {version('numpy')}, "
        f"{os.cpu_count()} cores ({platform.machine()}).",
        "",
        "| reference loop, 1,000 entries or processes | before the cases | after them |",
        "|---|---|---|",
        f"| heapq, pop and push, a second | {_rounded(heap_before)} | {_rounded(heap_after)} |",
        f"| SimPy timeouts a second | {_rounded(simpy_before)} | {_rounded(simpy_after)} |",
    ]


def _rounded(per_second: float) -> str:
    return f"{round(per_second, -3):,.0f}"


def _lines(rows: list[Measured]) -> list[str]:
    heads = ["case", "at most", "median", "first time", "rounds", "peak memory"]
    heads += ["events on the heap", "rank classes", "solver calls", "within"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    return [*lines, *(f"| {' | '.join(row.cells())} |" for row in rows)]


if __name__ == "__main__":
    main()
