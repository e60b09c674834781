"""A comparison as a report: what changed, where it comes from, what differs."""

from __future__ import annotations

from collections.abc import Iterator

from simdml.documents.document import from_mapping
from simdml.reporting.drawings import picture
from simdml.reporting.headline import share
from simdml.reporting.report import Report, Section, Table, Topic
from simdml.studies.compare.comparison import Comparison, Difference, read_comparison
from simdml.studies.compare.table import input_rows, output_rows, waterfall_rows
from simdml.studies.compare.waterfall import RANK
from simdml.studies.report.findings import Chosen, Findings, Record
from simdml.units import format_count, format_time

_ACCOUNTS = {RANK: "on the rank that ends the step"}


def findings(record: Record) -> Findings:
    """Return what the record of a comparison says; the job with the highest throughput is explained."""
    comparison = read_comparison(record)
    names = [comparison.name, *(other.name for other in comparison.others)]
    results = [comparison.reference, *(other.result for other in comparison.others)]
    name, best = max(zip(names, results, strict=True), key=lambda pair: pair[1].samples_per_s)
    report = Report(
        title=" or ".join(names),
        subject=f"{len(names)} scenarios compared",
        answer=_answer(comparison, name),
        certainty=(
            "Scenarios that share their kernels and collectives share most of the error of these, so that differences "
            "are surer than the times themselves; what differs in profile or fit is as sure as each of them.",
        ),
        tiles=tuple((each, format_time(result.step_time_s)) for each, result in zip(names, results, strict=True)),
        warnings=(),
        sections=tuple(_sections(comparison, names)),
        version=comparison.reference.version,
    )
    return Findings(report, Chosen(name, from_mapping(best.inputs["scenario"], name), best.step_time_s, name))


def _answer(comparison: Comparison, best: str) -> str:
    return f"{best} trains most a second. " + " ".join(
        f"{other.name}: {_relative(comparison, other)}" for other in comparison.others
    )


def _relative(comparison: Comparison, other: Difference) -> str:
    reference, result = comparison.reference, other.result
    ratio = result.samples_per_s / reference.samples_per_s
    rate = f"{format_count(float(f'{result.samples_per_s:.4g}'))} {result.sample_unit}/s"
    if ratio == 1:
        return f"{rate}, the same as {comparison.name}."
    word = "more" if ratio > 1 else "less"
    times = f"{ratio:.3g} times that of" if ratio >= 2 else f"{share(abs(ratio - 1))} {word} than"
    text = f"{rate}, {times} {comparison.name}"
    cause = other.waterfall.causes[0] if other.waterfall.causes else None
    return f"{text}; the largest difference is in {cause.account}." if cause else f"{text}."


def _sections(comparison: Comparison, names: list[str]) -> Iterator[Section]:
    head = ("", *names)
    outputs = Table("What changed", head, tuple(map(tuple, output_rows(comparison))))
    yield Section(Topic.ALTERNATIVES, "The alternatives", (outputs,))
    alt = "Bars from the step time of the first scenario to that of each other, one for each account that differs."
    falls = [
        Table(
            f"From {comparison.name} to {other.name}, {_ACCOUNTS.get(comparison.source, 'on the critical path')}",
            ("account", comparison.name, other.name, "difference"),
            tuple(tuple(row[:-1]) for row in waterfall_rows(other)),
            total=True,
        )
        for other in comparison.others
    ]
    yield Section(
        Topic.ALTERNATIVES,
        "Where the difference comes from",
        (picture("waterfall", comparison.plot, alt), *falls),
    )
    if inputs := tuple(map(tuple, input_rows(comparison))):
        table = Table("Keys and facts that are not the same", head, inputs, text_columns=len(head))
        yield Section(Topic.DIFFERENCES, "What differs in the scenarios", (table,))
