"""What a study contributes to a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from simdml.documents.document import Document
from simdml.reporting.report import Report

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The job that an answer stands for: its scenario, the step time that the record has, what to call it."""

    name: str
    document: Document
    step_time_s: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """The report of a study alone, and the job to explain below it, if there is one.

    ``is_job`` says that there is no study: the job is all that is reported.
    """

    report: Report
    chosen: Chosen | None = None
    is_job: bool = False


Reader = Callable[[Record], Findings]
"""Makes findings of a record; KeyError, TypeError and the like say that the record is not whole."""
