"""A plan as rows of text."""

from __future__ import annotations

from simdml.reporting.headline import share
from simdml.studies.plan.answer import alternatives, sums_of, why_slower
from simdml.studies.plan.candidate import Candidate
from simdml.studies.plan.planning import Plan
from simdml.studies.plan.search import Found
from simdml.units import format_bytes, format_money, format_power, format_time


def columns(plan: Plan) -> list[str]:
    """Return the heads of the table of alternatives."""
    several = ["cluster"] if len(plan.sites) > 1 else []
    targeted = ["all of it"] if plan.sites[0].steps != 1.0 else []
    priced = ["cost"] if plan.sites[0].usd_per_s is not None else []
    powered = ["power"] if _asks_for_power(plan) else []
    memory = [] if several else ["memory"]
    return [*several, "layout", "step", "MFU", *memory, *targeted, *priced, *powered, "against the best"]


def rows(plan: Plan) -> list[list[str]]:
    """Return a row for each of the best few alternatives."""
    return [_row(plan, found) for found in alternatives(plan)]


def _row(plan: Plan, found: Found) -> list[str]:
    numbers, sums, candidate = found.outcome.numbers, sums_of(plan, found), found.candidate
    memory = numbers["peak_memory_bytes"]
    cells = [candidate.site.label] if len(plan.sites) > 1 else []
    cells += [
        str(candidate.choice),
        format_time(numbers["step_time_s"] or 0.0),
        share(numbers["mfu"] or 0.0),
    ]
    if len(plan.sites) == 1:
        cells.append("" if memory is None else format_bytes(memory))
    cells += [format_time(sums.seconds)] if plan.sites[0].steps != 1.0 else []
    cells += [format_money(sums.usd or 0.0)] if plan.sites[0].usd_per_s is not None else []
    cells += [format_power(sums.power_w or 0.0)] if _asks_for_power(plan) else []
    return [*cells, why_slower(plan, found)]


def _asks_for_power(plan: Plan) -> bool:
    return plan.goal.power_w is not None or plan.goal.minimise == "energy"


def to_run(candidate: Candidate) -> str:
    """Return the strategy of a candidate as a scenario would have it, on one line."""
    from simdml.studies.sweep.table import shown_value

    document = candidate.choice.applied(candidate.site.document).data
    training = {key: document["training"][key] for key in ("microbatch", "recompute") if key in document["training"]}
    return f"training: {shown_value(training)}\nstrategy: {shown_value(document['strategy'])}"
