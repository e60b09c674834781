"""Cost, energy and the time to the target, as sections of a report."""

from __future__ import annotations

from collections.abc import Iterator

from simdml.reporting.report import Part, Section, Table, Topic
from simdml.results.result import Result
from simdml.scenario.loading import Scenario
from simdml.studies.cost.asked import asks_for_statement
from simdml.studies.cost.power import published_shares
from simdml.studies.cost.statement import Statement, statement
from simdml.studies.cost.table import rows
from simdml.units import format_money, format_time


def cost_part(result: Result, scenario: Scenario, interval_s: tuple[float, float]) -> Part:
    """Return what a scenario's sections on cost, energy and target come to; ``interval_s`` is that of its step."""
    if not asks_for_statement(scenario):
        return Part()
    found = statement(result, scenario)
    sections = (Section(Topic.COST, "Cost and energy", tuple(_tables(found, scenario))),)
    target = found.target
    if target is None:
        return Part(sections=sections)
    answer = f"To the target: {format_time(target.seconds)}"
    answer += "." if target.usd is None else f" and {format_money(target.usd)}."
    low, high = (end / result.step_time_s for end in interval_s)
    sure = f"To the target it is {format_time(low * target.seconds)} to {format_time(high * target.seconds)}"
    if target.usd is not None:
        sure += f" and {format_money(low * target.usd)} to {format_money(high * target.usd)}"
    sure += " in the same interval, without failures, restarts and evaluation."
    tiles = [("to the target", format_time(target.seconds))]
    tiles += [] if target.usd is None else [("cost of the target", format_money(target.usd))]
    return Part(answer, (sure,), tuple(tiles), sections=sections)


def _tables(found: Statement, scenario: Scenario) -> Iterator[Table]:
    yield Table("What it costs and draws", ("", ""), tuple(rows(found)), text_columns=2)
    if scenario.spec.energy is not None:
        given = {name for name in ("computing", "communicating", "waiting") if getattr(scenario.spec.energy, name)}
        shares = tuple(
            (name, f"{100 * share:.0f} %", "guess" if mark == "estimate" else mark, source)
            for name, share, mark, source in published_shares()
            if name not in given
        )
        yield Table("What a GPU draws, of its TDP", ("while", "share", "mark", "source"), shares, text_columns=4)
