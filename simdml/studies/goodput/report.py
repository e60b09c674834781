"""Weeks of training with failures as a report: when it ends, how much of the time is training, what is lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from simdml.documents.document import from_mapping
from simdml.reporting.drawings import picture
from simdml.reporting.report import Block, Points, Report, Section, Table, Topic, Words
from simdml.studies.goodput.figure import Cause, losses_figure
from simdml.studies.goodput.goodput import goodput
from simdml.studies.goodput.table import percent
from simdml.studies.goodput.timeline import LOSSES
from simdml.studies.report.findings import Chosen, Findings, Record
from simdml.units import format_bytes, format_time

_ALMOST: Final = 0.9


def study(source: str, assignments: Sequence[str] = ()) -> dict[str, Any]:
    """Return the record of a scenario with a goodput section."""
    return goodput(source, assignments).to_dict()


def findings(record: Record) -> Findings:
    """Return what the record of a goodput study says; the step it rests on is explained, unless it was given."""
    report = Report(
        title=record["name"],
        subject=f"training with failures on {record['num_gpus']:,} GPUs, {record['num_runs']:,} runs",
        answer=_answer(record),
        certainty=(
            "The spread is that of failures alone: their times are random, their rates are taken as known. "
            f"A step of {format_time(record['step_time_s'])} is taken as exact here; its own interval stretches "
            "the training in it by the same factor.",
        ),
        tiles=tuple(_tiles(record)),
        warnings=tuple(_warnings(record)),
        sections=tuple(_sections(record)),
        version=record["simdml_version"],
    )
    given = (record["scenario"].get("goodput") or {}).get("step_time") is not None
    scenario = from_mapping(record["scenario"], record["name"])
    return Findings(report, None if given else Chosen(record["name"], scenario, record["step_time_s"]))


def _answer(record: Record) -> str:
    effective = record["effective_time"]
    kept = f"{percent(effective['mean'])} of the time is training that is kept"
    if record["work_s"] is None:
        return f"{kept} ({percent(effective['p5'])} to {percent(effective['p95'])} in 90 % of runs)."
    wall = record["wall_s"]
    text = f"Training takes {format_time(wall['p50'])}, in 90 % of runs {format_time(wall['p5'])} to "
    text += f"{format_time(wall['p95'])}; {kept}."
    if record["end_date"] is not None:
        text += f" It ends on {record['end_date']}, half of the runs before."
    if record["share_in_time"] is not None:
        text += f" {percent(record['share_in_time'])} of runs end within {format_time(record['finish_within_s'])}."
    return text


def _tiles(record: Record) -> Iterator[tuple[str, str]]:
    if record["work_s"] is not None:
        yield "training takes", format_time(record["wall_s"]["p50"])
        yield "without failures", format_time(record["work_s"])
    yield "effective time", percent(record["effective_time"]["mean"])
    yield "interruptions", f"{record['interruptions']['mean']:,.1f}"
    yield "checkpoint every", format_time(record["checkpoint"]["interval_s"])


def _warnings(record: Record) -> Iterator[str]:
    share = record["share_in_time"]
    if share is not None and share < _ALMOST:
        yield f"Only {percent(share)} of runs end within {format_time(record['finish_within_s'])}."


def _sections(record: Record) -> Iterator[Section]:
    account, wall_s = record["account_s"], record["wall_s"]["mean"]
    causes: list[Cause] = [(each["cause"], each["interruptions"], each["lost_s"]) for each in record["causes"]]
    rows = tuple(
        (name, format_time(seconds), percent(seconds / wall_s))
        for name, seconds in sorted(account.items(), key=lambda item: (-item[1], item[0]))
        if seconds > 0
    )
    blocks: list[Block] = []
    if any(sum(lost.values()) > 0 for _, _, lost in causes):
        alt = f"Bars of the hours lost to each cause of a run. Most is lost to {causes[0][0]}."
        blocks.append(picture("losses", lambda: losses_figure(causes, account), alt))
    blocks.append(Table("Where the time of a run goes, on average", ("", "time", "share"), rows))
    blocks.append(
        Table(
            "Interruptions of a run and what is lost to each cause, on average",
            ("cause", "interruptions", *LOSSES),
            tuple(
                (name, f"{count:,.1f}", *(format_time(lost[kind]) if lost[kind] else "-" for kind in LOSSES))
                for name, count, lost in causes
            ),
        )
    )
    yield Section(Topic.INTERRUPTIONS, "Failures and what they cost", tuple(blocks))
    yield Section(Topic.INTERRUPTIONS, "Checkpoints", (_checkpoints(record),))
    source = Words((f"Failures: {record['failures']}.",))
    assumed = (Points(tuple(record["assumptions"])),) if record["assumptions"] else ()
    yield Section(Topic.ASSUMPTIONS, "What is assumed of failures", (source, *assumed))


def _checkpoints(record: Record) -> Table:
    found = record["checkpoint"]
    rows = [
        ("size", format_bytes(found["size_bytes"])),
        ("interval", f"{format_time(found['interval_s'])}, {found['interval_steps']:,} steps"),
        ("training waits", format_time(found["stall_s"]) if found["stall_s"] else "0 s"),
        ("written beside training", format_time(found["write_beside_s"]) if found["write_beside_s"] else "-"),
        ("loading", format_time(found["load_s"])),
    ]
    for key, name in (("young_interval_s", "Young (1974)"), ("daly_interval_s", "Daly (2006)")):
        if found[key] is not None:
            rows.append((f"best interval by {name}", format_time(found[key])))
    if record["closed_form_wall_s"] is not None:
        rows.append(("wall time by Daly's closed form, failures alone", format_time(record["closed_form_wall_s"])))
    return Table("Checkpoints of this run", ("", ""), tuple(rows), text_columns=2)
