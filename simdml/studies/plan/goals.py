"""The targets of a plan, read."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Final

from simdml.documents.document import Document, from_mapping
from simdml.documents.overriding import assign
from simdml.errors import DocumentError, InfeasibleError
from simdml.scenario.loading import Scenario
from simdml.scenario.schema.plan import PlanSpec
from simdml.studies.plan.goal import Goal, Minimise

PLAN: Final = "plan"
DAY_S: Final = 86400.0


def goal_of(scenario: Scenario, spec: PlanSpec) -> Goal:
    """Return what is minimised and what has to be met.

    Raises:
        DocumentError: a day that does not exist, or a target without how much has to be trained.
        InfeasibleError: a deadline in the past.
    """
    deadline_s = spec.finish_within if spec.finish_by is None else _days_left(scenario, spec) * DAY_S
    if scenario.spec.target is None:
        for key in ("finish_within", "finish_by", "budget"):
            if getattr(spec, key) is not None:
                raise DocumentError(
                    f"{key} needs to know how much has to be trained",
                    place=scenario.document.key_place((PLAN, key)),
                    hint="add target: {tokens: 1 T}, or samples, steps or epochs",
                )
    traffic = None if scenario.spec.cost is None else scenario.spec.cost.traffic
    once_usd = 0.0 if traffic is None or scenario.spec.target is None else traffic.size * traffic.price
    return Goal(minimised(scenario, spec), deadline_s, spec.budget, spec.power, once_usd)


def minimised(scenario: Scenario, spec: PlanSpec) -> Minimise:
    """Return what is best: time unless the plan says so, cost where clusters with prices are to choose from."""
    if spec.minimise is not None:
        return spec.minimise
    choice = spec.clusters is not None or spec.nodes is not None
    return "cost" if choice and (scenario.spec.cost is not None or spec.budget is not None) else "time"


def asking(scenario: Scenario, spec: PlanSpec) -> Document:
    """Return the scenario's document with sections of cost and energy where the plan needs them."""
    document = scenario.document
    goal = minimised(scenario, spec)
    if scenario.spec.cost is None and (goal == "cost" or spec.budget is not None):
        document = assign(document, ("cost",), from_mapping({}), PLAN)
    if scenario.spec.energy is None and (goal == "energy" or spec.power is not None):
        document = assign(document, ("energy",), from_mapping({}), PLAN)
    return document


def _days_left(scenario: Scenario, spec: PlanSpec) -> int:
    assert spec.finish_by is not None
    end = _day(scenario, "finish_by", spec.finish_by)
    begin = datetime.now(UTC).date() if spec.start is None else _day(scenario, "start", spec.start)
    if end <= begin:
        when = "today" if spec.start is None else "the start"
        raise InfeasibleError(
            f"{spec.finish_by} is not after {when}, {begin}",
            place=scenario.document.place((PLAN, "finish_by")),
            hint="a later day, or finish_within: 30 days",
        )
    return (end - begin).days


def _day(scenario: Scenario, key: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        place = scenario.document.place((PLAN, key))
        raise DocumentError(f"{text} is not a day", place=place, hint="year-month-day, 2026-12-31") from None
