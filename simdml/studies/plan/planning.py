"""``plan``: the best layout on a cluster, or the best cluster, with the proof that nothing else is better."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simdml import __version__
from simdml.errors import DoesNotFitError, InfeasibleError, SimdmlError
from simdml.scenario.clusters import CLUSTER
from simdml.scenario.loading import Scenario, load_scenario
from simdml.scenario.schema.plan import PlanSpec
from simdml.studies.plan.candidate import Candidate, Given, step_s
from simdml.studies.plan.goal import Goal
from simdml.studies.plan.goals import goal_of
from simdml.studies.plan.search import Found, Search
from simdml.studies.plan.site import Site
from simdml.studies.plan.sites import sites_of
from simdml.studies.plan.survey import Survey, habits_of, survey
from simdml.studies.sweep.axes import Setting
from simdml.studies.sweep.grid import Point
from simdml.studies.sweep.identity import sweep_digest
from simdml.studies.sweep.journal import Journal
from simdml.studies.sweep.outcome import DIED
from simdml.studies.sweep.table import shown_value
from simdml.studies.sweep.workers import Start, local_processes, num_cores, this_process
from simdml.units import format_bytes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PLAN = "plan"
COMPARED: Final = 16
"""Clusters of which each one's own best layout is looked for, if there are no more to choose from."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was found: the best and everything simulated, and what is proven of the rest.

    ``num_layouts`` are legal, of which ``num_unfit`` need more memory than there is; ``num_sharpened`` got a second
    bound, ``num_left`` were judged by a bound alone, the least of which is the rank ``least_left``. A search that was
    interrupted is not ``finished``. ``violations`` counts results below their bound, which would be a defect.
    """

    name: str
    goal: Goal
    sites: tuple[Site, ...]
    num_layouts: int
    num_unfit: int
    num_sharpened: int
    num_left: int
    found: tuple[Found, ...]
    best: Found | None
    least_left: tuple[float, float, float] | None
    gap: float
    finished: bool
    version: str = __version__

    @property
    def simulated(self) -> list[Found]:
        """Candidates that have numbers, from best to worst."""
        ranked = [(found.rank, found.candidate.number, found) for found in self.found if found.rank is not None]
        return [found for _, _, found in sorted(ranked, key=lambda entry: entry[:2])]

    @property
    def violations(self) -> int:
        """Simulated steps shorter than their bound said."""
        return sum(
            step_s(found.candidate.site, found.outcome) < found.candidate.least_s
            for found in self.found
            if found.rank is not None
        )

    @property
    def proven(self) -> bool:
        """Whether nothing else can be better, but for the gap that was asked for."""
        return self.finished and self.best is not None and not self.violations

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as a record."""
        from simdml.studies.plan.answer import plan_to_dict

        return plan_to_dict(self)

    def to_frame(self) -> pd.DataFrame:
        """Return one row a simulated candidate, the best first: what it is, what training takes, and its numbers."""
        import pandas as pd

        candidates = self.to_dict()["candidates"]
        left_out = ("scenario", "numbers", "account_s", "status")
        rows = [{key: value for key, value in each.items() if key not in left_out} for each in candidates]
        numbers = [each["numbers"] for each in candidates]
        return pd.DataFrame([row | found for row, found in zip(rows, numbers, strict=True)])

    def plot(self) -> Figure:
        """Return a figure: clusters by time against cost, or where the steps of the best layouts go."""
        from simdml.studies.plan.figure import plan_figure

        return plan_figure(self)

    @property
    def meets_targets(self) -> bool:
        """Whether the best meets every target."""
        return self.best is not None and self.best.rank is not None and self.best.rank[0] <= 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search is: what was found just now, and the best so far with what is left."""

    search: Search
    last: Found | None = None


def plan(
    source: str | os.PathLike[str] | Mapping[str, Any],
    assignments: Sequence[str] = (),
    *,
    jobs: int | None = None,
    start: Start | None = None,
    out: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Plan:
    """Return the best layout, or cluster, for a scenario: a file, a bundled name or a mapping.

    Candidates are simulated by ``jobs`` processes, as many as this machine has cores by default, or on the workers of
    ``start``. With ``out``, what was simulated is kept there, and a plan that was killed goes on where it was. An
    interrupt ends the search: the plan is the best so far, not ``finished``.

    Raises:
        SimdmlError: anything wrong with the scenario; a deadline in the past; too many candidates; nothing that fits.
    """
    scenario = load_scenario(source, assignments)
    spec = scenario.spec.plan or PlanSpec()
    _refuse_unproven(scenario)
    goal = goal_of(scenario, spec)
    sites = sites_of(scenario, spec)
    candidates, surveys = _candidates(spec, sites)
    fronts = len(sites) > 1 and all(site.usd_per_s is not None for site in sites)
    search = Search(goal, habits_of(scenario), spec.gap, fronts, each_site=1 < len(sites) <= COMPARED)
    search.add(candidates)
    journal = None if out is None else Journal(out, sweep_digest(scenario.name, scenario.document, _clusters(sites)))
    with journal or nullcontext():
        finished = _searched(search, start or _local(jobs), journal, progress or (lambda _: None))
    if search.best is None and finished:
        raise _nothing(scenario, surveys, search.found)
    unfit = sum(each.unfit for each in surveys)
    return Plan(
        name=scenario.name,
        goal=goal,
        sites=tuple(sites),
        num_layouts=len(candidates) + unfit,
        num_unfit=unfit,
        num_sharpened=search.sharpened,
        num_left=search.num_left,
        found=tuple(search.found),
        best=search.best,
        least_left=search.least_left,
        gap=spec.gap,
        finished=finished,
    )


def _searched(search: Search, start: Start, journal: Journal | None, progress: Callable[[Progress], None]) -> bool:
    """Run ``search``, its results kept in ``journal``; return False if it was interrupted."""
    search.known = {} if journal is None else dict(journal.finished)
    progress(Progress(search))
    try:
        for found in search.run(start):
            number, outcome = found.candidate.number, found.outcome
            if journal is not None and number not in search.known and outcome.status != DIED:
                journal.add(number, outcome)
            progress(Progress(search, found))
    except KeyboardInterrupt:
        return False
    return True


def _clusters(sites: Sequence[Site]) -> list[Point]:
    """Return the clusters as settings, so that the files they name are a part of what the plan is."""
    settings = ((site, site.document.part((CLUSTER,))) for site in sites)
    return [Point(site.number, (Setting(CLUSTER, (CLUSTER,), value),)) for site, value in settings]


def _candidates(spec: PlanSpec, sites: Sequence[Site]) -> tuple[list[Candidate], list[Survey]]:
    if spec.strategies is not None:
        given = [Given(shown_value(strategy), strategy) for strategy in spec.strategies]
        pairs = [(site, choice) for site in sites for choice in given]
        return [Candidate(number, site, choice, 0.0) for number, (site, choice) in enumerate(pairs)], []
    candidates: list[Candidate] = []
    surveys: list[Survey] = []
    refusals: list[SimdmlError] = []
    for site in sites:
        try:
            found = survey(site)
        except InfeasibleError as error:
            refusals.append(error)
            continue
        surveys.append(found)
        first = len(candidates)
        candidates += [Candidate(first + n, site, layout, least) for n, (layout, least) in enumerate(found.layouts)]
    if not surveys:
        raise refusals[0]
    return candidates, surveys


def _nothing(scenario: Scenario, surveys: Sequence[Survey], found: Sequence[Found]) -> SimdmlError:
    """Return why there is no plan: nothing fits, or what candidates were refused for."""
    place = scenario.document.place((PLAN,))
    reasons = [each.outcome for each in found]
    if reasons and not any(outcome.status == "does not fit" for outcome in reasons):
        return InfeasibleError(f"none of {len(found)} candidates can run: {reasons[0].reason}", place=place)
    excess = min((each.least_excess_bytes for each in surveys), default=float("inf"))
    closest = f"; the closest needs at least {format_bytes(excess)} more" if excess < float("inf") else ""
    more = f"; {reasons[0].reason}" if reasons else ""
    total = sum(each.legal for each in surveys) or len(found)
    return DoesNotFitError(
        f"none of {total:,} legal layouts fits{closest}{more}",
        needed_bytes=0.0,
        available_bytes=0.0,
        where=scenario.name,
        hint="more GPUs, GPUs with more memory, or recompute: full",
        place=place,
    )


def _refuse_unproven(scenario: Scenario) -> None:
    if scenario.spec.training.batch_share is not None:
        raise InfeasibleError(
            "layouts are compared with equal shares of the batch for all replicas",
            place=scenario.document.place(("training", "batch_share")),
            hint="leave batch_share out of a plan, and vary it for the best layout (simdml sweep)",
        )
    if any("jitter" in type(fault).model_fields for fault in scenario.spec.faults):
        raise InfeasibleError(
            "kernels that jitter may run faster than their cost, and nothing could be proven of candidates",
            place=scenario.document.place(("faults",)),
            hint="plan without jitter, and run the best layout with it",
        )


def _local(jobs: int | None) -> Start:
    processes = jobs or num_cores()
    return this_process if processes == 1 else lambda: local_processes(processes)
