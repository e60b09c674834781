"""From what a user names to a report: a record, a scenario, or several scenarios to compare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from simdml.documents.document import Document, in_folder
from simdml.documents.validation import validate
from simdml.errors import DocumentError, Place, SimdmlError, UsageError
from simdml.reporting.report import Report
from simdml.resources import find
from simdml.results.record import RECORD
from simdml.scenario.building import build
from simdml.scenario.loading import Scenario, changed, load_scenario_document
from simdml.scenario.schema.scenario import ScenarioSpec
from simdml.scenario.simulate import simulate_built
from simdml.studies.report.findings import Findings
from simdml.studies.report.job import job_report
from simdml.studies.report.kinds import KINDS
from simdml.studies.report.records import is_record, read_record


def make_report(sources: Sequence[str], assignments: Sequence[str] = ()) -> Report:
    """Return the report on a record or a scenario, or on the comparison of several scenarios.

    A scenario with a section that asks for a study is studied, any other is run.

    Raises:
        UsageError: records where there are several sources, or assignments to a record.
        SimdmlError: a record or scenario that cannot be read, or cannot run.
    """
    records = [source for source in sources if is_record(source)]
    if records and (len(sources) > 1 or assignments):
        wrong = "several sources" if len(sources) > 1 else "--set"
        raise UsageError(f"{records[0]} is a record: it goes without {wrong}", hint="give scenarios, or one record")
    if records:
        path, record = read_record(records[0])
        return _whole(_findings(record, str(path)), (Path(), path.parent))
    if len(sources) > 1:
        from simdml.studies.compare.comparison import compare

        compared = compare(*sources, assignments=assignments).to_dict()
        return _whole(_findings(compared, "the comparison"), [find("scenarios", source).parent for source in sources])
    return _of_scenario(sources[0], assignments)


def _of_scenario(source: str, assignments: Sequence[str]) -> Report:
    name, document = load_scenario_document(source)
    document = changed(document, assignments)
    asked = [kind for kind in KINDS.values() if kind.section and kind.section in document.data]
    if asked:
        record = asked[-1].load().study(source, assignments)
        return _whole(_findings(record, name), (find("scenarios", source).parent,))
    built = build(_scenario(name, document))
    return job_report(built, simulate_built(built))


def _scenario(name: str, document: Document) -> Scenario:
    return Scenario(name, document, validate(document, ScenarioSpec))


def _findings(record: dict[str, Any], source: str) -> Findings:
    kind = KINDS[record[RECORD]]
    try:
        found = kind.load().findings(record)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise DocumentError(
            f"the record is not whole: {what}",
            place=Place(source),
            hint=f"a {kind.noun} is written whole by simdml; run it again",
        ) from error
    assert isinstance(found, Findings)
    return found


def _whole(findings: Findings, folders: Iterable[Path]) -> Report:
    """Return the report of a study with that of the job it chose below; what it names is looked for in ``folders``."""
    report, chosen, reason = findings.report, findings.chosen, ""
    if chosen is None:
        return report
    for folder in folders:
        try:
            built = build(_scenario(chosen.name, in_folder(chosen.document, folder)))
            result = simulate_built(built)
        except SimdmlError as error:
            reason = reason or f"its job cannot be built here: {error.message}"
            continue
        if result.step_time_s == chosen.step_time_s:
            explained = job_report(built, result, chosen.label)
            return explained if findings.is_job else report.joined(explained)
        reason = f"this simdml, {result.version}, predicts another step time for the same scenario"
    return _alone(report, reason)


def _alone(report: Report, reason: str) -> Report:
    text = f"Only what the record itself has is shown, without pictures of the step and the cluster: {reason}."
    return replace(report, warnings=(*report.warnings, text))
