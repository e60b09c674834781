"""A site with a layout: a sharper bound of it from its own program, and its simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from simdml.costs.bounds import LeastSeconds, least_step_s
from simdml.documents.document import Document, from_mapping
from simdml.documents.overriding import assign
from simdml.program.instructions import Activity, Beside, Compute, Instruction, Routine
from simdml.program.program import Program
from simdml.scenario.building import Built, build
from simdml.scenario.simulate import simulate_built
from simdml.studies.cost.asked import asks_for_statement
from simdml.studies.cost.statement import statement
from simdml.studies.plan.blocks import Habits
from simdml.studies.plan.bound import fastest_stages, message_seconds
from simdml.studies.plan.holding import SLACK
from simdml.studies.plan.layout import PLAN, Layout
from simdml.studies.plan.passing import graph_of
from simdml.studies.plan.schedules import order_of, placement_of, waits_for_sends
from simdml.studies.plan.site import Site
from simdml.studies.plan.survey import known_blocks
from simdml.studies.sweep.outcome import Outcome, attempted, summarise

BOUNDED: Final = "bounded"
LEAST: Final = "least_step_s"
STEPS: Final = "steps_to_target"
PASSING, PROGRAM, SIMULATION = range(3)
"""What is done with a candidate when its turn comes: a sharper bound, the sharpest, and its simulation."""
_PASSES: Final = frozenset({Activity.FORWARD, Activity.BACKWARD, Activity.RECOMPUTE})


class Choice(Protocol):
    """How a job is divided: a layout, or a strategy given by hand."""

    def applied(self, document: Document) -> Document:
        """Return the scenario with this choice."""


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """A strategy as the plan has it, and how it is called."""

    label: str
    strategy: Any

    def __str__(self) -> str:
        return self.label

    def applied(self, document: Document) -> Document:
        """Return the scenario with this strategy."""
        return assign(document, ("strategy",), from_mapping({"": self.strategy}).part(("",)), PLAN)


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A site and a choice, numbered in the order of the plan, with what a step takes at least so far."""

    number: int
    site: Site
    choice: Choice
    least_s: float
    level: int = PASSING


def pass_through(site: Site, choice: Choice, habits: Habits) -> Outcome:
    """Return the outcome "bounded" with how long the micro-batches of a pipeline take to pass, each by itself."""
    return attempted(lambda: Outcome(BOUNDED, "", {LEAST: SLACK * _passing_s(site, choice, habits)}))


def sharpen(site: Site, choice: Choice, habits: Habits) -> Outcome:
    """Return the outcome "bounded" with the sharpest bound of the step, or why there can be no step."""
    return attempted(lambda: _sharpened(site, _built(site, choice), choice, habits))


def evaluate(site: Site, choice: Choice) -> Outcome:
    """Return the outcome of the simulation, with cost and energy where the scenario asks for them."""
    return attempted(lambda: _simulated(site, choice))


def step_s(site: Site, outcome: Outcome) -> float:
    """Return the step time of an outcome with numbers, as if a step had the site's samples and reached its target.

    Jobs that drop samples, or whose stale gradients cost more of them, take longer steps so.
    """
    numbers = outcome.numbers
    seconds, samples, steps = (numbers.get(key) for key in ("step_time_s", "samples_per_step", STEPS))
    assert seconds is not None
    assert samples is not None
    return seconds * (site.samples_per_step / samples if steps is None else steps / site.steps)


def _built(site: Site, choice: Choice) -> Built:
    return build(site.scenario(choice.applied(site.document)), site.cluster())


def _simulated(site: Site, choice: Choice) -> Outcome:
    built = _built(site, choice)
    result = simulate_built(built)
    outcome = summarise(result)
    if not asks_for_statement(built.scenario):
        return outcome
    found = statement(result, built.scenario)
    costs = {"usd_per_hour": found.usd_per_hour, "power_w": found.power_w, "kwh_per_step": found.kwh_per_step}
    costs[STEPS] = None if found.target is None else found.target.steps
    return replace(outcome, numbers={**outcome.numbers, **costs})


def _sharpened(site: Site, built: Built, choice: Choice, habits: Habits) -> Outcome:
    built.fitting_memory()
    program = built.program()
    seconds = least_step_s(program, built.job.cluster, built.costs, site.paces)
    least = LeastSeconds(built.costs, built.job.cluster, program.mesh, program.groups)
    seconds = max(seconds, _passing_s(site, choice, habits) + _closing_s(program, least, choice))
    share = site.samples_per_step / built.job.samples_per_step
    return Outcome(BOUNDED, "", {LEAST: SLACK * share * seconds})


def _passing_s(site: Site, choice: Choice, habits: Habits) -> float:
    """Return the least seconds from the first forward to the last backward of devices with stage 0; 0 without."""
    if not isinstance(choice, Layout) or choice.pp == 1:
        return 0.0
    placement = placement_of(choice.schedule, choice.pp, choice.chunks)
    blocks = known_blocks(site, choice, habits)
    begins = blocks.cuts.begins(placement.num_stages, choice.balance)
    if begins is None:
        return 0.0
    order = order_of(choice.schedule, choice.pp, choice.num_microbatches, choice.chunks)
    assert order is not None
    stages = fastest_stages(choice, blocks, order, begins)
    graph = graph_of(choice.schedule, choice.pp, choice.num_microbatches, choice.chunks)
    waits = waits_for_sends(choice.schedule, habits.overlap_p2p)
    return graph.period_s(stages, *message_seconds(choice, blocks), waits=waits)


def _closing_s(program: Program, least: LeastSeconds, choice: Choice) -> float:
    """Return the least seconds of what comes after the last backward of every device with a stage 0."""
    if not isinstance(choice, Layout) or choice.pp == 1:
        return closing_s(program, least)
    paths = placement_of(choice.schedule, choice.pp, choice.chunks).paths
    return min(closing_s(program, least, path[0][0]) for path in paths)


def closing_s(program: Program, least: LeastSeconds, device: int = 0) -> float:
    """Return the least seconds of what a pipeline's device does after its last backward: reductions, the update."""
    rank = device * program.mesh.strides.get("pp", 1)
    stream = program.classes[program.class_of_rank[rank]].streams[0]
    seconds = 0.0
    for instruction in reversed(stream.instructions):
        if _passes((instruction,)):
            break
        seconds += least.of(instruction)
    return seconds


def _passes(instructions: Sequence[Instruction]) -> bool:
    """Whether there is a kernel of forward or backward among them."""
    return any(
        (isinstance(each, Compute) and each.activity in _PASSES)
        or (isinstance(each, Routine) and _passes(each.instructions))
        or (isinstance(each, Beside) and _passes(each.kernels))
        for each in instructions
    )
