"""A plan as a report: the best layout or cluster, its proof, the alternatives and why each is not better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from simdml.documents.document import from_mapping
from simdml.reporting.alternatives import accounts_figure
from simdml.reporting.drawings import picture
from simdml.reporting.headline import share
from simdml.reporting.pareto import Alternative, front, pareto_figure
from simdml.reporting.report import Block, Points, Report, Section, Table, Topic, Words
from simdml.studies.plan.answer import plan_to_dict
from simdml.studies.plan.planning import plan
from simdml.studies.report.findings import Chosen, Findings, Record
from simdml.units import format_bytes, format_money, format_power, format_time

ALTERNATIVES: Final = 10
LONGEST: Final = 56
"""A label beside a bar is cut to so many characters."""
_YEAR_S, _HOUR_S = 365 * 86400.0, 3600.0


def study(source: str, assignments: Sequence[str] = ()) -> dict[str, Any]:
    """Return the record of a scenario with a plan section."""
    return plan_to_dict(plan(source, assignments))


def findings(record: Record) -> Findings:
    """Return what the record of a plan says; the best candidate is explained."""
    candidates, scenario = record["candidates"], record["scenario"]
    best = candidates[0] if candidates else None
    report = Report(
        title=scenario.get("description") or record["name"],
        subject=f"{record['name']}: a plan for the least {record['minimise']}",
        answer="Nothing that may be chosen can run." if best is None else _answer(record, best),
        certainty=(
            f"The search: {record['certificate']}",
            "That is proven of the model's numbers; candidates closer to each other than these are sure are not told "
            "apart by it.",
        ),
        tiles=() if best is None else tuple(_tiles(record, best)),
        warnings=tuple(_warnings(record)),
        sections=() if best is None else tuple(_sections(record, best)),
        version=record["simdml_version"],
    )
    if best is None:
        return Findings(report)
    document = from_mapping(scenario, record["name"])
    return Findings(report, Chosen(record["name"], document, best["numbers"]["step_time_s"], _label(record, best)))


def _several(record: Record) -> bool:
    return len(record["clusters"]) > 1


def _targeted(record: Record) -> bool:
    return any(site["steps_to_target"] != 1.0 for site in record["clusters"])


def _label(record: Record, candidate: Record) -> str:
    return f"{candidate['cluster']}: {candidate['layout']}" if _several(record) else str(candidate["layout"])


def _answer(record: Record, best: Record) -> str:
    sentences = [_takes(record, best), record["in_words"]]
    other = next((each for each in record["candidates"] if each["cluster"] != best["cluster"]), None)
    if other is not None:
        sentences.append(f"Next, {_takes(record, other)[:1].lower()}{_takes(record, other)[1:]}")
    sentences.append(f"The best layout: {best['layout']}.")
    return " ".join(sentence for sentence in sentences if sentence)


def _takes(record: Record, candidate: Record) -> str:
    """Return what training, or a step, takes with a candidate, in a sentence."""
    step = f"{format_time(candidate['numbers']['step_time_s'])} a step"
    parts = [f"{format_time(candidate['seconds'])} to the target"] if _targeted(record) else []
    parts += [] if candidate["usd"] is None else [format_money(candidate["usd"])]
    where = f"On {candidate['cluster']}: " if _several(record) else ""
    return f"{where}{', '.join([*parts, step])}."


def _tiles(record: Record, best: Record) -> Iterator[tuple[str, str]]:
    if _targeted(record):
        yield "training takes", format_time(best["seconds"])
    if best["usd"] is not None:
        yield "cost", format_money(best["usd"])
    yield "GPUs", f"{best['num_gpus']:,}"
    yield "step time", format_time(best["numbers"]["step_time_s"])
    yield "MFU", share(best["numbers"]["mfu"])
    yield "simulated", f"{record['num_simulated']:,} of {record['num_layouts']:,}"


def _warnings(record: Record) -> Iterator[str]:
    if not record["finished"]:
        yield "The search was interrupted: something better may be left."
    if record["candidates"] and not record["meets_targets"]:
        yield record["in_words"]


def _shown(record: Record) -> list[Record]:
    """Return the best few of every cluster, from best to worst."""
    few = max(1, ALTERNATIVES // len(record["clusters"]))
    taken: Counter[str] = Counter()
    shown = []
    for candidate in record["candidates"]:
        taken[candidate["cluster"]] += 1
        if taken[candidate["cluster"]] <= few:
            shown.append(candidate)
    return shown[: 2 * ALTERNATIVES]


def _sections(record: Record, best: Record) -> Iterator[Section]:
    shown = _shown(record)
    blocks: list[Block] = []
    if len(shown) > 1:
        blocks += [_pareto(record, shown, best), _bars(shown)]
    blocks.append(_table(record, shown))
    simulated = {candidate["cluster"] for candidate in record["candidates"]}
    if others := [site["cluster"] for site in record["clusters"] if site["cluster"] not in simulated]:
        text = f"Not simulated, as bounds say that they cannot be better, or nothing fits: {', '.join(others)}."
        blocks.append(Words((text,)))
    if record["failed"]:
        reasons = dict.fromkeys(f"{each['status']}: {each['reason']}" for each in record["failed"])
        blocks.append(Points(tuple(reasons)[:ALTERNATIVES]))
    yield Section(Topic.ALTERNATIVES, "The alternatives", tuple(blocks))


def _numbered(shown: Sequence[Record]) -> list[tuple[str, Record]]:
    return [(str(number), candidate) for number, candidate in enumerate(shown, start=1)]


def _pareto(record: Record, shown: Sequence[Record], best: Record) -> Block:
    period_s = _YEAR_S if _targeted(record) else _HOUR_S
    known = {id(candidate) for candidate in shown}
    others = [candidate for candidate in record["candidates"] if candidate["on_front"] and id(candidate) not in known]
    labelled = [*_numbered(shown), *(("", candidate) for candidate in others)]
    points = [
        Alternative(
            label,
            candidate["num_gpus"] if candidate["usd"] is None else candidate["usd"],
            period_s / candidate["seconds"],
            candidate is best,
        )
        for label, candidate in labelled
    ]
    unit = "training" if _targeted(record) else "a step"
    takes = "GPUs" if best["usd"] is None else f"cost of {unit}, USD"
    gives = "trainings a year" if _targeted(record) else "steps an hour"
    on = ", ".join(point.label for point in front(points) if point.label)
    alt = f"How fast each alternative is against what it takes ({takes}). On the front: {on}; chosen: 1."
    return picture("pareto", lambda: pareto_figure(points, takes, gives), alt, "Numbers are those of the table.")


def _bars(shown: Sequence[Record]) -> Block:
    batches = {candidate["numbers"]["samples_per_step"] for candidate in shown}
    per = "a sample" if len(batches) > 1 else "a step"
    unlike = len({candidate["cluster"] for candidate in shown}) < len(shown)
    bars = [
        (
            f"{number}: {_shortened(candidate['layout'] if unlike else candidate['cluster'])}",
            {
                name: seconds / (candidate["numbers"]["samples_per_step"] if len(batches) > 1 else 1.0)
                for name, seconds in candidate["account_s"].items()
            },
        )
        for number, candidate in _numbered(shown)
    ]
    alt = f"Stacked bars of the time {per} by account, one for each of {len(bars)} alternatives."
    return picture("alternatives", lambda: accounts_figure(bars, per), alt)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _table(record: Record, shown: Sequence[Record]) -> Table:
    several, targeted = _several(record), _targeted(record)
    priced, powered = shown[0]["usd"] is not None, shown[0]["power_w"] is not None
    columns = ["", *(["cluster"] if several else []), "layout", "against the best", "step", "MFU", "memory"]
    columns += [
        *(["all of it"] if targeted else []),
        *(["cost"] if priced else []),
        *(["power"] if powered else []),
    ]
    rows = []
    for number, candidate in _numbered(shown):
        numbers = candidate["numbers"]
        row = [number, *([candidate["cluster"]] if several else []), candidate["layout"], candidate["why_slower"]]
        row += [format_time(numbers["step_time_s"]), share(numbers["mfu"]), format_bytes(numbers["peak_memory_bytes"])]
        row += [format_time(candidate["seconds"])] if targeted else []
        row += [format_money(candidate["usd"])] if priced else []
        row += [format_power(candidate["power_w"])] if powered else []
        rows.append(tuple(row))
    caption = "The best few of every cluster" if several else f"The best {len(rows)} of those simulated"
    return Table(caption, tuple(columns), tuple(rows), text_columns=3 + several)
