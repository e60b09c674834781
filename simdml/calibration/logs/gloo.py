"""gloo's own benchmark (``gloo/benchmark``): elements of four bytes, percentiles of the time in us.

A block of "Device:", "Algorithm:" and "Options: processes=4, ...", a line of column names, then rows of elements,
min, p50, p99, ..., GB/s and samples. The median is taken.
"""

from __future__ import annotations

import re

from simdml.calibration.logs.collective_log import CollectiveLog, CollectiveRow
from simdml.calibration.logs.lines import empty, log_lines

EXPECTED_ROW = "elements, min, p50, p99, p995, max and avg in us, GB/s, samples"
ELEMENT_BYTES = 4
NAMES = ("reduce_scatter", "allreduce", "allgather", "broadcast", "reduce")
_OPTIONS = re.compile(r"^Options:.*\bprocesses=(\d+)")
_ALGORITHM = re.compile(r"^Algorithm:\s*(\S+)")
_NUMBERED = re.compile(r"^\s*\d")


def parse_gloo(text: str, name: str) -> CollectiveLog:
    """Return the rows of a run of gloo's benchmark.

    Raises:
        DocumentError: a damaged row, or no rows at all.
    """
    ranks, algorithm, columns, rows = 0, "", 0, []
    for line in log_lines(text, name):
        if (options := _OPTIONS.match(line.text)) is not None:
            ranks = int(options.group(1))
        elif (found := _ALGORITHM.match(line.text)) is not None:
            algorithm = found.group(1)
        elif line.text.split()[:1] == ["elements"]:
            columns = len(re.findall(r"\S+(?: \([^)]*\))?", line.text))
        elif columns and _NUMBERED.match(line.text):
            numbers = line.numbers(EXPECTED_ROW)
            if len(numbers) != columns or not numbers[0].is_integer() or numbers[2] <= 0.0:
                raise line.damaged(f"the row has {len(numbers)} columns", f"{columns}: {EXPECTED_ROW}")
            size = int(numbers[0]) * ELEMENT_BYTES
            rows.append(CollectiveRow(size, "float", numbers[2] * 1e-6, line=line.number))
    if not rows:
        raise empty(name, "the output of gloo's benchmark: 'Options: processes=...', then rows of " + EXPECTED_ROW)
    return CollectiveLog(name, "gloo", _collective(algorithm), tuple(rows), ranks, ranks)


def _collective(algorithm: str) -> str:
    found = next((word for word in NAMES if word in algorithm), "allreduce")
    return {"allreduce": "all_reduce", "allgather": "all_gather"}.get(found, found)
