"""Several jobs on one cluster as a report: how long they wait for GPUs, and how much they slow each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simdml.reporting.report import Report
from simdml.studies.fleet.fleet import fleet
from simdml.studies.fleet.queue_report import queue_part
from simdml.studies.fleet.sharing_report import sharing_part
from simdml.studies.report.findings import Findings, Record


def study(source: str, assignments: Sequence[str] = ()) -> dict[str, Any]:
    """Return the record of a scenario with a fleet section."""
    return fleet(source, assignments).to_dict()


def findings(record: Record) -> Findings:
    """Return what the record of a fleet study says."""
    parts = [] if record["queue"] is None else [queue_part(record["queue"])]
    parts += [] if record["sharing"] is None else [sharing_part(record["sharing"])]
    subject = "several jobs on one cluster"
    return Findings(Report.of(parts, title=record["name"], subject=subject, version=record["simdml_version"]))
