"""nccl-tests (and rccl-tests): text of old and new releases, excerpts, and the JSON of ``-J``.

Format: NVIDIA/nccl-tests ``src/common.cu``. A row is size, count, type, then redop and root as the program has them,
and two groups of time, algbw, busbw and errors (out of place, in place). Releases name the last column "error" or
"#wrong"; ``-S``, ``-I`` and ``-C`` add or rename columns, which the header tells. Without a header the number of
columns decides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from simdml.calibration.logs.collective_log import CollectiveLog, CollectiveRow, bus_factor, ranks_of_factor
from simdml.calibration.logs.lines import LogLine, empty, log_lines

EXPECTED_ROW = "size, count, type, redop or root, then time, algbw, busbw and errors twice"
EXPECTED_FILE = "the output of an nccl-tests program, with rows such as '1048576 262144 float sum -1 83.9 12.5 ...'"
PROGRAMS = (
    *("all_reduce", "all_gather", "all_to_all", "reduce_scatter", "broadcast", "reduce", "alltoall", "sendrecv"),
    *("gather", "scatter", "hypercube"),
)
"""What stands before ``_perf`` in a program's name; a longer name comes before the one it contains."""
TYPES = frozenset(
    (
        *("int8", "char", "uint8", "int32", "int", "uint32", "int64", "uint64"),
        *("half", "float16", "bfloat16", "bf16", "float", "float32", "double", "float64"),
        *("f8e4m3", "f8e5m2", "fp8_e4m3", "fp8_e5m2", "float8_e4m3", "float8_e5m2"),
    )
)
_ROW = re.compile(r"^\s*\d+\s+\d+\s+[A-Za-z]\w*\s")
_NUMBERED = re.compile(r"^\s*\d+(\s|$)")
_HEADER = re.compile(r"^\s*#\s+size\s+count\s+type\b(.*)$")
_RANK = re.compile(
    r"^#\s*Rank\s+(\d+)\s+(?:Group\s+\d+\s+)?Pid\s+\d+\s+on\s+(\S+)\s+device\s+\S+\s+\[[^\]]*\]\s*(.*?)\s*$"
)
_PROGRAM = re.compile(r"\b(" + "|".join(PROGRAMS) + r")_perf")
_VERSION = re.compile(r"(?:NCCL version|[rn]ccl-library=|NCCL )\s*`?(\d+\.\d+\.\d+|\d{5})")
_STARTING = "# Collective test starting:"
_GROUP_COLUMNS = 4
"""Time, algbw, busbw, errors."""


@dataclass
class _Seen:
    """What the lines before and around the rows say."""

    columns: list[str] | None = None
    ranks: set[int] = field(default_factory=set)
    hosts: dict[str, None] = field(default_factory=dict)
    device: str = ""
    program: str = ""
    version: str = ""
    library: str = "nccl"
    in_place_unchecked: bool = False
    redop: str = ""
    root: str = ""
    factors: list[float] = field(default_factory=list)


def parse_nccl_runs(text: str, name: str) -> tuple[CollectiveLog, ...]:
    """Return the logs of all programs whose output follows one another in ``text``, as "test starting" lines part them.

    Raises:
        DocumentError: a damaged row, or no rows at all.
    """
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if _STARTING in line]
    if len(starts) < 2:
        return (parse_nccl_tests(text, name),)
    bounds = [0, *starts[1:], len(lines)]
    # Lines of other runs are blanked, so that errors name the right line; the first holds what is common.
    runs = [
        "\n".join(line if first <= number < last else "" for number, line in enumerate(lines))
        for first, last in pairwise(bounds)
    ]
    return tuple(parse_nccl_tests(run, name) for run in runs)


def parse_nccl_tests(text: str, name: str) -> CollectiveLog:
    """Return the rows of an nccl-tests text log of one program; ``name`` stands for the file.

    Ranks come from the device list where it is whole, else from bus over algorithm bandwidth.

    Raises:
        DocumentError: a damaged row, or no rows at all.
    """
    seen, rows = _Seen(), []
    for line in log_lines(text, name):
        if _ROW.match(line.text):
            rows.append(_row(line, seen))
        elif seen.columns is not None and _NUMBERED.match(line.text):
            raise line.damaged("this row of the table is cut or damaged", EXPECTED_ROW)
        else:
            _note(line, seen)
    if not rows:
        raise empty(name, EXPECTED_FILE)
    collective = seen.program or _guess(seen)
    return CollectiveLog(
        source=name,
        library=seen.library,
        collective=collective,
        rows=tuple(rows),
        ranks=_ranks(seen, collective),
        nodes=len(seen.hosts) if _is_whole(seen) else 0,
        version=seen.version,
        device=seen.device,
    )


def _note(line: LogLine, seen: _Seen) -> None:
    if (header := _HEADER.match(line.text)) is not None:
        seen.columns = header.group(1).split()
    elif (rank := _RANK.match(line.text)) is not None:
        number, host, device = rank.groups()
        seen.ranks.add(int(number))
        seen.hosts[host] = None
        seen.device = device
    if not seen.program and (program := _PROGRAM.search(line.text)) is not None:
        seen.program = program.group(1).replace("all_to_all", "alltoall")
    if line.text.startswith("# Out of bounds values"):
        seen.columns = None
    if "rccl" in line.text:
        seen.library = "rccl"
    if not seen.version and (version := _VERSION.search(line.text)) is not None:
        seen.version = _dotted(version.group(1))


def _dotted(version: str) -> str:
    """22304 stands for 2.23.4."""
    if "." in version:
        return version
    return f"{int(version) // 10000}.{int(version) // 100 % 100}.{int(version) % 100}"


def _row(line: LogLine, seen: _Seen) -> CollectiveRow:
    tokens = line.text.split()
    lead, groups = _layout(line, tokens, seen)
    if tokens[2] not in TYPES:
        raise line.damaged(f"{tokens[2]!r} is not a data type of NCCL", EXPECTED_ROW)
    size = int(tokens[0])
    times = [_group(line, tokens[start : start + 3], size, seen) for start in groups]
    for token in tokens[3 : 3 + lead]:
        if re.fullmatch(r"-?\d+", token):
            seen.root = token
        else:
            seen.redop = token
    seen.in_place_unchecked |= tokens[groups[-1] + 3] == "N/A" and tokens[groups[0] + 3] != "N/A"
    return CollectiveRow(size, tokens[2], times[0], times[1] if len(times) > 1 else 0.0, line.number)


def _layout(line: LogLine, tokens: Sequence[str], seen: _Seen) -> tuple[int, list[int]]:
    """How many columns stand between type and time, and where each group's time is."""
    if seen.columns is None:
        lead = len(tokens) - 3 - 2 * _GROUP_COLUMNS
        if lead not in (0, 1, 2):
            raise line.damaged(f"the row has {len(tokens)} columns", f"{EXPECTED_ROW}: 11 to 13 columns")
        return lead, [3 + lead, 3 + lead + _GROUP_COLUMNS]
    found = [3 + index for index, column in enumerate(seen.columns) if column in ("time", "cputime")]
    # A time stamp is printed as a date and a time of day.
    stamped = sum(column.startswith("timestamp") for column in seen.columns)
    allowed = (3 + len(seen.columns), 3 + len(seen.columns) + stamped)
    if len(tokens) not in allowed or not found:
        raise line.damaged(f"the row has {len(tokens)} columns", f"{allowed[0]} columns, as the header has")
    return found[0] - 3, found


def _group(line: LogLine, tokens: Sequence[str], size: int, seen: _Seen) -> float:
    """Seconds of a group of time (us), algbw and busbw (GB/s), which must agree with the size."""
    try:
        time_us, algorithm, bus = map(float, tokens)
    except ValueError:
        raise line.damaged(f"{' '.join(tokens)!r} is not time, algbw and busbw", EXPECTED_ROW) from None
    if time_us < 0.0 or algorithm < 0.0:
        raise line.damaged("a time or bandwidth is negative", EXPECTED_ROW)
    if time_us > 0.0 and size:
        expected = size / time_us / 1e3
        # Both are rounded: the time to four digits or more, the bandwidth to two decimals.
        if abs(expected - algorithm) > 0.0101 + 0.01 * expected:
            message = f"size over time is {expected:.2f} GB/s and algbw says {algorithm:g}"
            raise line.damaged(message, "a row in which size / time is algbw")
    if algorithm >= 5.0:
        seen.factors.append(bus / algorithm)
    return time_us * 1e-6


def _is_whole(seen: _Seen) -> bool:
    return bool(seen.ranks) and seen.ranks == set(range(len(seen.ranks))) and _agrees(seen, len(seen.ranks))


def _agrees(seen: _Seen, ranks: int) -> bool:
    """Whether bus over algorithm bandwidth allows that many ranks: an excerpt may list a part of them."""
    if not seen.factors:
        return True
    factor = sorted(seen.factors)[len(seen.factors) // 2]
    collective = seen.program or _guess(seen)
    return abs(bus_factor(collective, ranks) - factor) < 2e-3


def _ranks(seen: _Seen, collective: str) -> int:
    if _is_whole(seen):
        return len(seen.ranks)
    if not seen.factors:
        return 0
    steps = 2 if collective == "all_reduce" else 1
    return ranks_of_factor(sorted(seen.factors)[-1 - len(seen.factors) // 4], steps)


def _guess(seen: _Seen) -> str:
    """The collective of a log that does not name it, from its columns and bus over algorithm bandwidth."""
    factor = sorted(seen.factors)[len(seen.factors) // 2] if seen.factors else 1.0
    reduces = seen.redop not in ("", "none")
    if seen.in_place_unchecked:
        return "sendrecv" if factor > 0.999 else "alltoall"
    if reduces and factor > 0.999:
        return "reduce" if seen.root not in ("", "-1") else "all_reduce"
    if reduces:
        return "reduce_scatter"
    return "broadcast" if factor > 0.999 else "all_gather"
