"""Readings of the measurement programs: JSON files of format "simdml-readings-1".

An object with ``program``, ``environment`` (what was measured on) and ``cases``: each has the ``case`` it measured,
``seconds`` (a median), ``spread`` relative to it, ``repeats``, and ``noisy`` where the median was not stable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simdml.calibration.logs.collective_log import CollectiveLog, CollectiveRow
from simdml.calibration.logs.nccl_json import parse_json
from simdml.errors import DocumentError, Place

FORMAT = "simdml-readings-1"
EXPECTED_ENTRY = "case (a mapping), seconds above 0, spread, repeats and noisy"
_OPS = {"all_to_all": "alltoall", "send_recv": "sendrecv"}
_DTYPES = {"fp32": "float", "fp16": "half", "bf16": "bfloat16"}


@dataclass(frozen=True, slots=True)
class Reading:
    """The median ``seconds`` of ``repeats`` runs of ``case``; ``spread`` is one standard deviation over the median."""

    case: Mapping[str, Any]
    seconds: float
    spread: float
    repeats: int
    noisy: bool


@dataclass(frozen=True, slots=True)
class Readings:
    """What ``program`` measured, on the machine that ``environment`` describes."""

    source: str
    program: str
    environment: Mapping[str, Any]
    readings: tuple[Reading, ...]
    date: str = ""

    @property
    def stable(self) -> tuple[Reading, ...]:
        """Readings whose median was stable: what a fit uses."""
        return tuple(reading for reading in self.readings if not reading.noisy)

    @property
    def noisy(self) -> tuple[Reading, ...]:
        """Readings that a fit leaves out."""
        return tuple(reading for reading in self.readings if reading.noisy)


def parse_readings(text: str, name: str) -> Readings:
    """Return the readings in ``text``; ``name`` stands for the file.

    Raises:
        DocumentError: not JSON, another format, or a damaged entry, with its place in the document.
    """
    data = parse_json(text, name)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise DocumentError(f"this is not a file of readings: its format is {found!r}", place=Place(name),
                            hint=f'expected "format": "{FORMAT}"')  # fmt: skip
    entries = data.get("cases")
    if not isinstance(entries, list) or not isinstance(data.get("environment"), dict):
        raise DocumentError("the file has no environment or no list of cases", place=Place(name),
                            hint=f"expected environment, and cases of {EXPECTED_ENTRY}")  # fmt: skip
    runs = data.get("runs") or [{}]
    return Readings(
        source=name,
        program=str(data.get("program", "")),
        environment=data["environment"],
        readings=tuple(_reading(entry, index, name) for index, entry in enumerate(entries)),
        date=str(runs[-1].get("date", ""))[:10],
    )


def _reading(entry: Any, index: int, name: str) -> Reading:
    try:
        case, seconds = entry["case"], float(entry["seconds"])
        reading = Reading(case, seconds, float(entry["spread"]), int(entry["repeats"]), bool(entry["noisy"]))
        damaged = "" if isinstance(case, dict) and seconds > 0.0 else "seconds must be above 0 and case a mapping"
    except (KeyError, TypeError, ValueError) as error:
        damaged = f"{type(error).__name__}: {error}"
    if damaged:
        place = Place(name, path=("cases", index))
        raise DocumentError(f"cases[{index}] is damaged: {damaged}", place=place, hint=f"expected {EXPECTED_ENTRY}")
    return reading


def collective_logs(readings: Readings) -> tuple[CollectiveLog, ...]:
    """Return the stable readings of ``collectives.py`` as one log for each collective and number of ranks.

    A case has ``op`` ("all_reduce"), ``bytes`` (nccl-tests' size), ``dtype``, ``ranks``, ``nodes`` and ``backend``.
    """
    environment = readings.environment
    rows: dict[tuple[str, int, int, str], list[CollectiveRow]] = {}
    for reading in readings.stable:
        case = reading.case
        dtype = _DTYPES.get(str(case.get("dtype")), str(case.get("dtype", "")))
        row = CollectiveRow(int(case.get("bytes", 0)), dtype, reading.seconds)
        op, ranks, nodes = str(case.get("op", "")), int(case.get("ranks", 0)), int(case.get("nodes", 0))
        rows.setdefault((_OPS.get(op, op), ranks, nodes, str(case.get("backend", "nccl"))), []).append(row)
    return tuple(
        CollectiveLog(
            source=readings.source,
            library=backend,
            collective=collective,
            rows=tuple(found),
            ranks=ranks,
            nodes=nodes,
            version=str(environment.get("nccl") or ""),
            device=str(environment.get("device", "")),
        )
        for (collective, ranks, nodes, backend), found in rows.items()
    )
