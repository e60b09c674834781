"""Alternatives as a picture: what training takes against how fast it is, readable in black and white."""

from __future__ import annotations

from matplotlib.figure import Figure

from simdml.reporting.pareto import Alternative, pareto_figure
from simdml.studies.plan.answer import alternatives, pareto, sums_of
from simdml.studies.plan.planning import Plan
from simdml.studies.plan.search import Found

_HOUR_S, _DAY_S = 3600.0, 86400.0


def plan_figure(plan: Plan) -> Figure:
    """Return cost (or GPUs without prices) against speed, of the alternatives and all on the front."""
    shown = list({id(found): found for found in (*alternatives(plan), *pareto(plan))}.values())
    priced = plan.sites[0].usd_per_s is not None
    targeted = plan.sites[0].steps != 1.0
    takes = ("cost of training, USD" if targeted else "cost of a step, USD") if priced else "GPUs"
    gives = "trainings a year" if targeted else "steps an hour"
    return pareto_figure([_alternative(plan, found) for found in shown], takes, gives)


def _alternative(plan: Plan, found: Found) -> Alternative:
    sums, site = sums_of(plan, found), found.candidate.site
    period_s = 365 * _DAY_S if site.steps != 1.0 else _HOUR_S
    label = site.label if len(plan.sites) > 1 else str(found.candidate.choice).split(", micro-batch", maxsplit=1)[0]
    takes = float(site.gpus) if sums.usd is None else sums.usd
    return Alternative(label, takes, period_s / sums.seconds, found is plan.best)
