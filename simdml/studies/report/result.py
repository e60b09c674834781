"""A single run as a report."""

from __future__ import annotations

from simdml.documents.document import from_mapping
from simdml.results.saved import read_saved
from simdml.studies.report.findings import Chosen, Findings, Record
from simdml.studies.report.job import numbers_report


def findings(record: Record) -> Findings:
    """Return what the record of a run says."""
    saved = read_saved(record)
    scenario = from_mapping(saved.inputs["scenario"], saved.name)
    return Findings(numbers_report(saved), Chosen(saved.name, scenario, saved.step_time_s), is_job=True)
