"""A plan in words and as plain data: the answer, its proof, the alternatives and why each is slower."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from simdml.results.plain import plain
from simdml.results.record import record
from simdml.studies.plan.candidate import Given, step_s
from simdml.studies.plan.front import front
from simdml.studies.plan.goal import Goal, Sums
from simdml.studies.plan.planning import Plan
from simdml.studies.plan.search import Found
from simdml.units import format_money, format_percent, format_power, format_time

ALTERNATIVES: Final = 8
CAUSES: Final = 2
FELT: Final = 0.005
"""A difference below this share of the step is not worth a word."""


def sums_of(plan: Plan, found: Found) -> Sums:
    """Return what training takes with a candidate that was simulated."""
    site, outcome = found.candidate.site, found.outcome
    return plan.goal.sums(site, step_s(site, outcome), outcome.numbers.get("power_w"))


def alternatives(plan: Plan) -> list[Found]:
    """Return the best few: of every cluster its best, or the best layouts of the only one, or strategies by hand."""
    if len(plan.sites) == 1 or _by_hand(plan):
        return plan.simulated[: 2 * ALTERNATIVES if _by_hand(plan) else ALTERNATIVES]
    first: dict[int, Found] = {}
    for found in plan.simulated:
        first.setdefault(found.candidate.site.number, found)
    return list(first.values())


def _by_hand(plan: Plan) -> bool:
    return any(isinstance(found.candidate.choice, Given) for found in plan.found)


def pareto(plan: Plan) -> list[Found]:
    """Return the front of time against cost (or GPUs without prices), of the simulated candidates."""
    costs = []
    for found in plan.simulated:
        sums = sums_of(plan, found)
        costs.append(((sums.seconds, found.candidate.site.gpus if sums.usd is None else sums.usd), found))
    return front(costs)


def why_slower(plan: Plan, found: Found) -> str:
    """Return the accounts in which a candidate's step is longer than the best one's, the largest first."""
    if plan.best is None or found is plan.best:
        return "best"
    mine, best = found.outcome, plan.best.outcome
    if found.rank is not None and plan.best.rank is not None and found.rank[0] > plan.best.rank[0]:
        return _missed(plan, found)
    difference = step_s(found.candidate.site, mine) - step_s(plan.best.candidate.site, best)
    longest = step_s(found.candidate.site, mine)
    more = {name: mine.account_s.get(name, 0.0) - best.account_s.get(name, 0.0) for name in _accounts(plan, found)}
    causes = sorted(more.items(), key=lambda item: (-item[1], item[0]))
    words = [f"{name} +{format_time(seconds)}" for name, seconds in causes[:CAUSES] if seconds > FELT * longest]
    if difference <= 0:
        words = [f"a faster step, but {_dearer(plan)}"]
    return ", ".join(words) or "nearly equal"


def certificate(plan: Plan) -> str:
    """Return what is proven, in a sentence or two."""
    simulated = len(plan.simulated)
    what = "strategies" if _by_hand(plan) else "legal layouts"
    clusters = f" on {len(plan.sites)} clusters" if len(plan.sites) > 1 else ""
    text = f"{plan.num_layouts:,} {what}{clusters}"
    text += f", {plan.num_unfit:,} need more memory than there is" if plan.num_unfit else ""
    text += f", {simulated:,} simulated ({format_percent(float(f'{simulated / plan.num_layouts:.2g}'))})"
    if plan.violations:
        return f"{text}. Nothing is proven: {plan.violations} ran faster than their bound, a defect in simdml."
    if not plan.finished:
        return f"{text}; interrupted: {_remaining_gap(plan)}."
    if plan.least_left is None or not plan.num_left:
        return f"{text}: all that fit, so nothing is better."
    if plan.gap:
        return f"{text}. Proven to {100 * plan.gap:g} %: nothing else is more than that better."
    return f"{text}. Optimum proven: no other can be better than {_objective(plan, plan.least_left)}."


def _remaining_gap(plan: Plan) -> str:
    if plan.best is None or plan.best.rank is None or plan.least_left is None:
        return "nothing simulated yet"
    best, left = plan.best.rank, plan.least_left
    if left[:2] >= best[:2] or not best[1]:
        return "what is left cannot be better"
    if left[0] < best[0]:
        return "what is left may still meet targets that the best so far misses"
    return f"what is left may be up to {100 * (1 - left[1] / best[1]):.2g} % better"


def _objective(plan: Plan, rank: tuple[float, float, float]) -> str:
    missed, objective, _ = rank
    text = shown_objective(plan.goal, objective, per_step=plan.sites[0].steps == 1.0)
    return text if missed <= 1.0 else f"{text}, missing a target by a factor of {missed:.3g}"


def shown_objective(goal: Goal, objective: float, *, per_step: bool) -> str:
    """Return a value of what is minimised, for people."""
    unit = " a step" if per_step else ""
    match goal.minimise:
        case "time":
            return f"{format_time(objective)}{unit}"
        case "cost":
            return f"{format_money(objective)}{unit}"
        case "energy":
            return f"{objective / 3.6e6:,.4g} kWh{unit}"
        case "gpus":
            return f"{objective:,.0f} GPUs"


def targets_in_words(plan: Plan) -> str:
    """Return whether the targets are met and, where nothing meets all of them, how near the nearest comes."""
    goal = plan.goal
    if plan.best is None or plan.best.rank is None:
        return ""
    sums = sums_of(plan, plan.best)
    parts = []
    if goal.deadline_s is not None:
        parts.append(_target(format_time(sums.seconds), format_time(goal.deadline_s), sums.seconds / goal.deadline_s))
    if goal.budget_usd is not None and sums.usd is not None:
        parts.append(_target(format_money(sums.usd), format_money(goal.budget_usd), sums.usd / goal.budget_usd))
    if goal.power_w is not None and sums.power_w is not None:
        parts.append(_target(format_power(sums.power_w), format_power(goal.power_w), sums.power_w / goal.power_w))
    if not parts:
        return ""
    met = "Every target is met" if plan.meets_targets else "No candidate meets every target; this is the nearest"
    return f"{met}: {'; '.join(parts)}."


def _target(found: str, wanted: str, factor: float) -> str:
    return f"{found} of {wanted}" + (f", {factor:.3g} times as much" if factor > 1.0 else "")


def _missed(plan: Plan, found: Found) -> str:
    goal, sums = plan.goal, sums_of(plan, found)
    if goal.deadline_s is not None and sums.seconds > goal.deadline_s:
        return f"too late: {format_time(sums.seconds)}"
    if goal.budget_usd is not None and sums.usd is not None and sums.usd > goal.budget_usd:
        return f"too dear: {format_money(sums.usd)}"
    return f"draws too much: {format_power(sums.power_w or 0.0)}"


def _dearer(plan: Plan) -> str:
    match plan.goal.minimise:
        case "gpus":
            return "on more GPUs"
        case "energy":
            return "for more energy"
        case _:
            return "for more money"


def _accounts(plan: Plan, found: Found) -> list[str]:
    assert plan.best is not None
    return sorted({*found.outcome.account_s, *plan.best.outcome.account_s})


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """Return the plan as a record."""
    on_front = {id(found) for found in pareto(plan)}
    return record(
        "plan",
        {
            "name": plan.name,
            "scenario": _scenario(plan),
            "minimise": plan.goal.minimise,
            "targets": {
                "finish_within_s": plan.goal.deadline_s,
                "budget_usd": plan.goal.budget_usd,
                "power_w": plan.goal.power_w,
            },
            "num_layouts": plan.num_layouts,
            "num_unfit": plan.num_unfit,
            "num_simulated": len(plan.simulated),
            "num_bounded": plan.num_left,
            "proven": plan.proven,
            "finished": plan.finished,
            "gap": plan.gap,
            "meets_targets": plan.meets_targets,
            "certificate": certificate(plan),
            "in_words": targets_in_words(plan),
            "least_left": _left(plan),
            "clusters": [_site(plan, index) for index in range(len(plan.sites))],
            "candidates": [_candidate(plan, found, on_front=id(found) in on_front) for found in plan.simulated],
            "failed": [
                {"layout": str(found.candidate.choice), "status": found.outcome.status, "reason": found.outcome.reason}
                for found in sorted(plan.found, key=lambda each: each.candidate.number)
                if found.rank is None and found.outcome.status != "does not fit"
            ],
        },
        version=plan.version,
    )


def _scenario(plan: Plan) -> dict[str, Any]:
    """Return the scenario of the best candidate, or of the first cluster where there is none."""
    base = plan.sites[0].document
    document = base if plan.best is None else plan.best.candidate.choice.applied(plan.best.candidate.site.document)
    return {key: plain(value) for key, value in document.data.items() if key != "plan"}


def _left(plan: Plan) -> dict[str, float] | None:
    if plan.least_left is None:
        return None
    return dict(zip(("missed_by", "objective", "step_time_s"), plan.least_left, strict=True))


def _site(plan: Plan, index: int) -> dict[str, Any]:
    site = plan.sites[index]
    usd = None if site.usd_per_s is None else site.usd_per_s * 3600
    return {"cluster": site.label, "num_gpus": site.gpus, "usd_per_hour": usd, "steps_to_target": site.steps}


def _candidate(plan: Plan, found: Found, *, on_front: bool) -> dict[str, Any]:
    candidate, sums = found.candidate, sums_of(plan, found)
    document: Mapping[str, Any] = candidate.choice.applied(candidate.site.document).data
    return {
        "number": candidate.number,
        "cluster": candidate.site.label,
        "layout": str(candidate.choice),
        "scenario": {key: document[key] for key in ("cluster", "training", "strategy")},
        "num_gpus": candidate.site.gpus,
        "least_step_s": candidate.least_s,
        "seconds": sums.seconds,
        "usd": sums.usd,
        "power_w": sums.power_w,
        "kwh": None if sums.joules is None else sums.joules / 3.6e6,
        "missed_by": None if found.rank is None else found.rank[0],
        "why_slower": why_slower(plan, found),
        "on_front": on_front,
        **found.outcome.plain(),
    }
