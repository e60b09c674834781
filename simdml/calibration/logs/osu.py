"""OSU micro-benchmarks: ``osu_allreduce`` and its siblings (MVAPICH, ``c/mpi/collective``).

A header line "# OSU MPI Allreduce Latency Test v5.6", a line of column names, then size in bytes and the average
latency in us; with ``-f`` minimum, maximum and iterations follow.
"""

from __future__ import annotations

import re

from simdml.calibration.logs.collective_log import CollectiveLog, CollectiveRow
from simdml.calibration.logs.lines import empty, log_lines

EXPECTED_ROW = "size in bytes and average latency in us"
NAMES = {"allreduce": "all_reduce", "allgather": "all_gather", "reduce_scatter": "reduce_scatter", "bcast": "broadcast"}
_TITLE = re.compile(r"^#\s*OSU\s+(?:MPI\S*|NCCL)\s+(\w+).*?\bv?(\d+(?:\.\d+)*)?\s*$")
_NUMBERED = re.compile(r"^\s*\d")


def parse_osu(text: str, name: str, ranks: int = 0) -> CollectiveLog:
    """Return the rows of an OSU collective latency test; its output does not say how many ``ranks`` ran.

    Raises:
        DocumentError: a damaged row, or no rows at all.
    """
    collective, rows, version = "all_reduce", [], ""
    titled = False
    for line in log_lines(text, name):
        if (title := _TITLE.match(line.text)) is not None:
            titled = True
            collective = NAMES.get(title.group(1).lower(), title.group(1).lower())
            version = title.group(2) or ""
        elif titled and _NUMBERED.match(line.text):
            numbers = line.numbers(EXPECTED_ROW)
            if len(numbers) < 2 or not numbers[0].is_integer() or numbers[1] <= 0.0:
                raise line.damaged("this row of the table is cut or damaged", EXPECTED_ROW)
            rows.append(CollectiveRow(int(numbers[0]), "char", numbers[1] * 1e-6, line=line.number))
    if not rows:
        raise empty(name, "the output of osu_allreduce: '# OSU MPI Allreduce ...', then rows of size and latency")
    return CollectiveLog(name, "mpi", collective, tuple(rows), ranks, version=version)
