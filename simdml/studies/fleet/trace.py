"""A trace of jobs: a CSV file with a head."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

from simdml.documents.reading import read_text
from simdml.errors import DocumentError, Place, did_you_mean, listed, quoted
from simdml.studies.fleet.arriving import QueuedJob

NEEDED: Final = ("submit_s", "gpus", "runtime_s")
OPTIONAL: Final = ("estimate_s", "priority", "name")


def read_trace(path: Path) -> list[QueuedJob]:
    """Return the jobs of a trace in the order they come.

    Columns ``submit_s``, ``gpus`` and ``runtime_s`` are needed; ``estimate_s`` is the runtime and ``priority`` 0 where
    they are missing. Times are in seconds.

    Raises:
        DocumentError: a file, column or value that cannot be accepted, with its line.
    """
    reader = csv.reader(read_text(path).splitlines())
    columns = [name.strip() for name in next(reader, [])]
    _check_columns(path, columns)
    jobs = [_job(path, reader.line_num, dict(zip(columns, row, strict=False)), row, columns) for row in reader if row]
    if len(jobs) < 2:
        raise DocumentError(f"a trace has at least two jobs, found {len(jobs)}", place=Place(str(path)))
    ordered = sorted(jobs, key=lambda job: (job.submit_s, job.number))
    first = ordered[0].submit_s
    return [_numbered(number, job, first) for number, job in enumerate(ordered)]


def _numbered(number: int, job: QueuedJob, first_s: float) -> QueuedJob:
    return QueuedJob(number, job.kind, job.submit_s - first_s, job.gpus, job.runtime_s, job.estimate_s, job.priority)


def _check_columns(path: Path, columns: list[str]) -> None:
    place = Place(str(path), 1, 1)
    for name in columns:
        if name not in (*NEEDED, *OPTIONAL):
            near = did_you_mean(name, (*NEEDED, *OPTIONAL))
            raise DocumentError(
                f"unknown column {quoted(name)}{near}", place=place, hint=f"columns: {listed((*NEEDED, *OPTIONAL))}"
            )
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise DocumentError(f"missing column {quoted(missing[0])}", place=place, hint=f"needed: {listed(NEEDED)}")


def _job(path: Path, line: int, values: dict[str, str], row: list[str], columns: list[str]) -> QueuedJob:
    if len(row) != len(columns):
        place = Place(str(path), line, 1)
        raise DocumentError(f"{len(row)} values, and {len(columns)} columns", place=place)

    def number(name: str, least: float) -> float:
        try:
            value = float(values[name])
        except ValueError:
            value = float("nan")
        if not least <= value < 1e15:
            place = Place(str(path), line, 1)
            raise DocumentError(f"{name} is {quoted(values[name])}, no number from {least:g} on", place=place)
        return value

    runtime_s, gpus = number("runtime_s", 0.0), number("gpus", 1)
    if gpus % 1:
        raise DocumentError(f"gpus is {quoted(values['gpus'])}, no whole number", place=Place(str(path), line, 1))
    return QueuedJob(
        line,
        values.get("name", "") or "trace",
        number("submit_s", 0.0),
        int(gpus),
        runtime_s,
        max(number("estimate_s", 0.0), runtime_s) if values.get("estimate_s") else runtime_s,
        int(number("priority", -1e9)) if values.get("priority") else 0,
    )
