"""Runs the measurement programs of calibrate/ on the CPU, and reads what they leave."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from simdml.calibration.logs.loading import load_measurements
from simdml.calibration.logs.readings import Readings
from simdml.errors import InfeasibleError
from simdml.resources import data_dir

Progress = Callable[[str], None]
_LAST_LINES: Final = 5
_CASE: Final = re.compile(r"\w+: (\d+)/(\d+) ")
_EVERY_CASES: Final = 20


def measure(program: str, folder: Path, threads: int, words: list[str], progress: Progress) -> Readings:
    """Run ``program`` of calibrate/ with one file in ``folder``, which it continues, and return its readings.

    On one thread the clock is that of the process: other programs then lengthen no reading. ``progress`` gets lines.

    Raises:
        InfeasibleError: it failed; the message has its last lines.
    """
    path = folder / f"cpu_{program}.json"
    clock = "process" if threads == 1 else "wall"
    command = [sys.executable, str(data_dir("calibrate") / f"{program}.py"), "--device", "cpu", "--out", str(path)]
    command += ["--threads", str(threads), "--clock", clock, *words]
    lines: list[str] = []
    with _running(command) as child:
        assert child.stderr is not None
        for line in child.stderr:
            lines.append(line.rstrip())
            if _worth_telling(line, program):
                progress(lines[-1])
    if child.returncode:
        raise InfeasibleError(
            f"calibrate/{program}.py ended with {child.returncode}: {' / '.join(lines[-_LAST_LINES:])}",
            hint=f"run it by itself: {' '.join(command[1:])}",
        )
    found = load_measurements(path)
    assert isinstance(found, Readings)
    return found


def _worth_telling(line: str, program: str) -> bool:
    """Whether a line is the program's own (PyTorch writes some too), and not about one kernel of many."""
    case = _CASE.match(line)
    return line.startswith(f"{program}: ") and (case is None or int(case[1]) % _EVERY_CASES == 0 or int(case[2]) < 10)


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """The program, ended politely (it keeps what it measured) if this one is."""
    environment = os.environ | {"KINETO_LOG_LEVEL": "5"}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
    ) as child:
        try:
            yield child
        except BaseException:
            child.terminate()
            raise
