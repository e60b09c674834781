"""A sweep as a report: which variant is best, how the others compare, what cannot run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from simdml.documents.document import from_mapping
from simdml.documents.overriding import parse_path
from simdml.reporting.alternatives import accounts_figure
from simdml.reporting.drawings import picture
from simdml.reporting.headline import share
from simdml.reporting.pareto import Alternative, front, pareto_figure
from simdml.reporting.report import Block, Points, Report, Section, Table, Topic
from simdml.studies.report.findings import Chosen, Findings, Record
from simdml.studies.sweep.axes import Setting
from simdml.studies.sweep.grid import Point
from simdml.studies.sweep.objective import OBJECTIVES, Objective
from simdml.studies.sweep.outcome import outcome_from
from simdml.studies.sweep.sweep import Row, Sweep, plan_sweep, run_sweep
from simdml.studies.sweep.table import failures, settings_text, shown_rows, sweep_to_dict, text_cells, text_columns
from simdml.units import format_count

BARS_SHOWN: Final = 16
LONGEST: Final = 90
"""A setting is written out so far in sentences."""
_STATUS = ("status", "reason", "numbers", "account_s", "busiest_link")


def study(source: str, assignments: Iterable[str] = ()) -> dict[str, Any]:
    """Return the record of the sweep of a scenario with a vary section."""
    return sweep_to_dict(run_sweep(plan_sweep(source, assignments=assignments)), next(iter(OBJECTIVES.values())))


def findings(record: Record) -> Findings:
    """Return what the record of a sweep says; its best point is explained."""
    sweep, objective = read_sweep(record), OBJECTIVES[record["best_by"]]
    best = objective.best(sweep.rows)
    report = Report(
        title=sweep.base.data.get("description") or sweep.name,
        subject=f"{sweep.name}: {len(sweep.rows):,} variants, of which {sweep.num_ok:,} can run",
        answer="None of the variants can run." if best is None else _answer(sweep, objective, best),
        certainty=(
            "Variants that share their kernels and collectives share most of the error of these, so that the order is "
            "surer than the numbers.",
        ),
        tiles=() if best is None else tuple(_tiles(sweep, best)),
        warnings=tuple(failures(sweep)),
        sections=tuple(_sections(sweep, objective, best)),
        version=sweep.version,
    )
    if best is None:
        return Findings(report)
    step_s = best.outcome.numbers["step_time_s"] or 0.0
    return Findings(report, Chosen(sweep.name, best.point.document(sweep.base), step_s, _name(sweep, best)))


def read_sweep(record: Record) -> Sweep:
    """Return the sweep that :func:`~simdml.studies.sweep.table.sweep_to_dict` wrote."""
    rows = tuple(_row(data) for data in record["points"])
    base = from_mapping(record["scenario"], record["name"])
    return Sweep(record["name"], record["simdml_version"], tuple(record["varied"]), rows, base)


def _row(data: Record) -> Row:
    settings = tuple(
        Setting(path, parse_path(path), from_mapping({"value": value}).part(("value",)))
        for path, value in data["settings"].items()
    )
    outcome = outcome_from({key: data[key] for key in _STATUS if key in data})
    return Row(Point(data["point"], settings), outcome)


def _answer(sweep: Sweep, objective: Objective, best: Row) -> str:
    text = f"Best by {objective.name.replace('_', ' ')}: {_name(sweep, best)}, with {_shown(objective, best)}."
    ranked = [row for row in objective.ranked(sweep.rows) if row.outcome.ok]
    if len(ranked) > 1:
        second, last = ranked[1], ranked[-1]
        behind = 1 - objective.value(second.outcome) / objective.value(best.outcome)
        text += f" Next: {_name(sweep, second)}, {_less(behind)}."
        if last is not second:
            behind = 1 - objective.value(last.outcome) / objective.value(best.outcome)
            text += f" Last: {_name(sweep, last)}, {_less(behind)}."
    return text


def _name(sweep: Sweep, row: Row) -> str:
    return settings_text(sweep, row, LONGEST, [_spoken(path) for path in sweep.paths])


def _spoken(path: str) -> str:
    """Return "nics count" for cluster.node.nics.count, "nodes" for cluster.nodes."""
    steps = path.removesuffix(".name").split(".")
    return " ".join(steps[-2:] if len(steps) > 2 else steps[-1:])


def _shown(objective: Objective, row: Row) -> str:
    """Return what a row is best in; throughput in tokens, where there are any."""
    tokens = row.outcome.numbers["tokens_per_s"]
    if tokens is not None and objective.name == "throughput":
        return f"{format_count(float(f'{tokens:.4g}'))} tokens/s"
    return objective.show(row.outcome)


def _less(behind: float) -> str:
    return "the same" if not behind else f"{share(abs(behind))} {'less' if behind > 0 else 'more'}"


def _tiles(sweep: Sweep, best: Row) -> Iterator[tuple[str, str]]:
    named = dict(zip(text_columns(sweep), text_cells(sweep, best, best), strict=True))
    yield from ((name, named[name]) for name in ("step time", "throughput", "GPUs", "MFU", "memory"))


def _sections(sweep: Sweep, objective: Objective, best: Row | None) -> Iterator[Section]:
    rows = shown_rows(sweep, objective)
    caption = "Every variant" if len(rows) == len(sweep.rows) else f"The {len(rows)} best of {len(sweep.rows):,}"
    columns = text_columns(sweep)
    text_columns_ = len(columns) - len(("GPUs", "step time", "throughput", "MFU", "memory", "note"))
    cells = tuple(tuple(text_cells(sweep, row, best)) for row in rows)
    table = Table(f"{caption}, by {objective.name.replace('_', ' ')}", tuple(columns), cells, text_columns_)
    reasons = failures(sweep)
    blocks: list[Block] = [*_pictures(sweep, objective, best), table]
    blocks += [Points(tuple(reasons))] if reasons else []
    yield Section(Topic.ALTERNATIVES, "The alternatives", tuple(blocks))


def _pictures(sweep: Sweep, objective: Objective, best: Row | None) -> Iterator[Block]:
    ran = [row for row in objective.ranked(sweep.rows) if row.outcome.ok]
    if best is None:
        return
    if len({row.outcome.numbers["num_gpus"] for row in ran}) > 1:
        yield _pareto(ran, best)
    shown = sorted(ran[:BARS_SHOWN], key=lambda row: row.point.number)
    batches = {row.outcome.numbers["samples_per_step"] for row in shown}
    bars = [
        (f"{row.point.number}: {settings_text(sweep, row)}", _accounts(row, per_sample=len(batches) > 1))
        for row in shown
    ]
    per = "a sample" if len(batches) > 1 else "a step"
    alt = f"Stacked bars of the seconds {per} by account, one for each of {len(bars)} variants. "
    alt += f"Best: {settings_text(sweep, best)}."
    yield picture("alternatives", lambda: accounts_figure(bars, per), alt)


def _accounts(row: Row, *, per_sample: bool) -> dict[str, float]:
    samples = (row.outcome.numbers["samples_per_step"] or 1.0) if per_sample else 1.0
    return {name: seconds / samples for name, seconds in row.outcome.account_s.items()}


def _pareto(ran: Sequence[Row], best: Row) -> Block:
    points = [
        Alternative(
            str(row.point.number),
            row.outcome.numbers["num_gpus"] or 0.0,
            row.outcome.numbers["samples_per_s"] or 0.0,
            row is best,
        )
        for row in ran
    ]
    on = ", ".join(each.label for each in front(points))
    alt = f"Throughput against GPUs for {len(points)} variants. On the front: points {on}; chosen: "
    alt += f"{best.point.number}, {format_count(best.outcome.numbers['samples_per_s'] or 0.0)} samples/s."
    caption = "Numbers are those of the points in the table."
    return picture("pareto", lambda: pareto_figure(points, "GPUs", "samples/s"), alt, caption)
