"""CUDA samples' ``p2pBandwidthLatencyTest``: matrices of GB/s and us between the GPUs of a node."""

from __future__ import annotations

import re
from dataclasses import dataclass

from simdml.calibration.logs.lines import LogLine, empty, log_lines

EXPECTED_ROW = "the number of a GPU and one value for each GPU"
_DEVICE = re.compile(r"^Device:\s*(\d+),\s*(.*?),\s*pciBusID")
_BANDWIDTH = re.compile(r"^(Unidirectional|Bidirectional) P2P=(Enabled|Disabled) Bandwidth .*Matrix \(GB/s\)")
_LATENCY = re.compile(r"^P2P=(Enabled|Disabled) Latency .*Matrix \(us\)")
_HEADER = re.compile(r"^\s*(D\\D|GPU|CPU)\s+0(\s|$)")
_NUMBERED = re.compile(r"^\s*\d+\s")


@dataclass(frozen=True, slots=True)
class PeerMatrix:
    """``values[source][target]``: bytes/s where ``quantity`` is "bandwidth", seconds where it is "latency".

    ``peer_access`` tells whether copies went from GPU to GPU, ``both_ways`` whether both directions were busy and
    counted together. The diagonal is a copy inside one GPU.
    """

    quantity: str
    peer_access: bool
    both_ways: bool
    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class PeerLog:
    """A run: the GPUs' names where printed, and the matrices in their order."""

    source: str
    devices: tuple[str, ...]
    matrices: tuple[PeerMatrix, ...]

    def matrix(self, quantity: str, *, peer_access: bool, both_ways: bool = False) -> PeerMatrix | None:
        """Return the matrix asked for, or None where the run does not have it."""
        return next(
            (
                found
                for found in self.matrices
                if (found.quantity, found.peer_access, found.both_ways) == (quantity, peer_access, both_ways)
            ),
            None,
        )


def parse_p2p(text: str, name: str) -> PeerLog:
    """Return the matrices of a run; times seen from the CPU and the table of who may access whom are passed over.

    Raises:
        DocumentError: a damaged row, or no matrix at all.
    """
    devices: list[str] = []
    matrices: list[PeerMatrix] = []
    lines = log_lines(text, name)
    for index, line in enumerate(lines):
        if (device := _DEVICE.match(line.text)) is not None:
            devices.append(device.group(2))
        elif (title := _BANDWIDTH.match(line.text)) is not None:
            values = _values(lines, index, 1e9)
            both_ways = title.group(1) == "Bidirectional"
            matrices.append(PeerMatrix("bandwidth", title.group(2) == "Enabled", both_ways, values))
        elif (title := _LATENCY.match(line.text)) is not None:
            values = _values(lines, index, 1e-6)
            matrices.append(PeerMatrix("latency", title.group(1) == "Enabled", False, values))
    if not matrices:
        raise empty(name, "the output of p2pBandwidthLatencyTest, with its matrices")
    return PeerLog(name, tuple(devices), tuple(matrices))


def _values(lines: list[LogLine], title: int, scale: float) -> tuple[tuple[float, ...], ...]:
    header = lines[title + 1] if title + 1 < len(lines) else None
    if header is None or not _HEADER.match(header.text):
        raise lines[title].damaged("the matrix has no line of GPU numbers", r"'D\D 0 1 ...' below the title")
    size = len(header.text.split()) - 1
    rows = []
    for number in range(size):
        at = title + 2 + number
        line = lines[at] if at < len(lines) else lines[-1]
        if at >= len(lines) or not _NUMBERED.match(line.text) or line.text.split()[0] != str(number):
            raise line.damaged(f"the matrix ends before row {number} of {size}", EXPECTED_ROW)
        numbers = line.numbers(EXPECTED_ROW, start=1)
        if len(numbers) != size:
            raise line.damaged(f"the row has {len(numbers)} values", f"{size} values, one for each GPU")
        rows.append(tuple(value * scale for value in numbers))
    return tuple(rows)
