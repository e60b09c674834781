"""What would change the answer, as sections of a report."""

from __future__ import annotations

from collections.abc import Iterator

from simdml.documents.document import from_mapping
from simdml.reporting.drawings import picture
from simdml.reporting.report import Block, Report, Section, Table, Topic, Words
from simdml.studies.report.findings import Chosen, Findings, Record
from simdml.studies.sensitivity.table import COLUMNS, rows
from simdml.studies.sensitivity.tornado import FELT, Sensitivity, read_sensitivity
from simdml.units import format_time


def findings(record: Record) -> Findings:
    """Return what the record of a sensitivity study says."""
    found = read_sensitivity(record)
    name = found.result.name
    report = Report(
        title=name,
        subject=f"what would change a step of {format_time(found.step_time_s)}",
        answer=found.in_words(),
        certainty=(),
        tiles=(("step time", format_time(found.step_time_s)),),
        warnings=(),
        sections=tuple(sensitivity_sections(found)),
        version=found.result.version,
    )
    return Findings(report, Chosen(name, from_mapping(found.result.inputs["scenario"], name), found.step_time_s))


def sensitivity_sections(found: Sensitivity) -> Iterator[Section]:
    """Yield the binding constraint in words, and what would change the step."""
    yield Section(Topic.CONSTRAINT, "What binds it", (Words((found.in_words(),)),))
    felt = [effect for effect in found.effects if max(abs(found.gain(effect)), abs(found.loss(effect))) >= FELT]
    first = f" Twice as good, {felt[0].knob.name} save {100 * found.gain(felt[0]):.0f} %." if felt else ""
    alt = f"Bars of how much longer or shorter a step is with each part of the job twice and half as good.{first}"
    cells = tuple(_cells(found))
    blocks: list[Block] = [picture("tornado", found.plot, alt)] if felt else []
    blocks += [Table("Each part of the job twice and half as good, on its own", COLUMNS[:-1], cells)] if cells else []
    if names := [effect.knob.name for effect in found.effects if effect not in felt and not effect.reason]:
        blocks.append(Words((f"Less than {100 * FELT:.0f} % either way: {', '.join(names)}.",)))
    yield Section(Topic.CHANGE, "What would change it", tuple(blocks))


def _cells(found: Sensitivity) -> Iterator[tuple[str, ...]]:
    """Yield the rows of what is felt without their bars; a reason stands where the numbers would."""
    for name, *numbers, last in rows(found):
        if not any(numbers):
            continue
        reason = last and "|" not in last
        yield (name, *numbers[:-1], last) if reason else (name, *numbers)
