"""From a scenario's ``fleet`` section to a queue and what comes to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from simdml.cluster.cluster import Cluster
from simdml.errors import InfeasibleError, UsageError
from simdml.results.result import Result
from simdml.scenario.clusters import relative
from simdml.scenario.loading import Scenario
from simdml.scenario.places import located
from simdml.scenario.schema.fleet import FleetSpec, QueuedJobSpec, QueueSpec
from simdml.scenario.simulate import simulate
from simdml.studies.cost.target import steps_to_target
from simdml.studies.fleet.arriving import JobKind
from simdml.studies.fleet.queue import Queue
from simdml.studies.fleet.trace import read_trace
from simdml.studies.fleet.waiting import Demand

FLEET, QUEUE = "fleet", "queue"
MOST_JOBS = 5_000_000
"""Jobs of all runs together; they take some minutes."""
_EXAMPLE = "fleet: {queue: {jobs: [{name: small, gpus: 8, every: 20 min, runs: 2 h}]}}"


def fleet_section(scenario: Scenario) -> FleetSpec:
    """Return the section; raises UsageError where the scenario has none, or an empty one."""
    spec = scenario.spec.fleet
    if spec is None or (spec.queue is None and not spec.beside):
        raise UsageError(f"{scenario.name} has no fleet section", hint=f"add for example {_EXAMPLE}")
    return spec


def build_queue(spec: QueueSpec, scenario: Scenario, cluster: Cluster) -> Queue:
    """Return the queue before ``cluster``.

    Raises:
        InfeasibleError: nodes with different numbers of GPUs, or none.
    """
    counts = {group.template.gpus for group in cluster.node_groups if group.template.gpus}
    if len(counts) != 1:
        found = " or ".join(map(str, sorted(counts))) or "no"
        raise InfeasibleError(
            f"nodes of {cluster.name} have {found} GPUs: a queue needs one number",
            place=scenario.document.place(("cluster",)),
            hint="use a cluster of nodes of one kind",
        )
    nodes = sum(group.num_nodes for group in cluster.node_groups if group.template.gpus)
    return Queue(nodes, counts.pop(), spec.policy, spec.placement)


def build_demand(spec: QueueSpec, scenario: Scenario) -> Demand:
    """Return what comes to the queue; the scenario's own job runs as long as it takes to its target.

    Raises:
        DocumentError: a trace that cannot be accepted.
        InfeasibleError: the own job without a target.
        SimdmlError: as simulating it.
    """
    if spec.trace is not None:
        with located(scenario.document, FLEET, QUEUE, "trace"):
            return Demand(trace=tuple(read_trace(Path(relative(scenario, spec.trace, FLEET, QUEUE, "trace")))))
    if spec.count * spec.repeats > MOST_JOBS:
        raise InfeasibleError(
            f"{spec.count * spec.repeats:,} jobs in all are more than the {MOST_JOBS:,} that are served",
            place=scenario.document.place((FLEET, QUEUE, "count")),
            hint=f"count: {min(spec.count, MOST_JOBS // spec.repeats):,} or less, or fewer repeats",
        )
    if spec.count < 20:
        raise InfeasibleError(
            f"{spec.count} jobs are too few to say how long they wait",
            place=scenario.document.place((FLEET, QUEUE, "count")),
            hint="at least 20; 5 k by default",
        )
    kinds = tuple(_kind(each, scenario, index) for index, each in enumerate(spec.jobs))
    return Demand(kinds, count=spec.count, warm_up=min(spec.warm_up, 0.9))


def _kind(spec: QueuedJobSpec, scenario: Scenario, index: int) -> JobKind:
    own = spec.runs is None
    runs_s = _own_runtime_s(spec, scenario, index) if spec.runs is None else spec.runs
    distribution = spec.distribution or ("constant" if own else "exponential")
    return JobKind(spec.name, spec.gpus, spec.every, runs_s, distribution, spec.cv, spec.overestimate, spec.priority)


def _own_runtime_s(spec: QueuedJobSpec, scenario: Scenario, index: int) -> float:
    target = scenario.spec.target
    if target is None:
        raise InfeasibleError(
            f"nothing says how long {spec.name} runs",
            place=scenario.document.place((FLEET, QUEUE, "jobs", index)),
            hint="add runs: 2 h, or, for the scenario's own job, target: {steps: 100 k}",
        )
    result = simulate(replace(scenario, spec=scenario.spec.model_copy(update={"gpus": spec.gpus})))
    tokens = None if result.tokens_per_s is None else round(result.tokens_per_s / result.samples_per_s)
    with located(scenario.document, "target"):
        steps = steps_to_target(
            target,
            samples_per_step=result.samples_per_step,
            tokens_per_sample=tokens,
            mean_staleness=_staleness(result),
        )
    return steps * result.step_time_s


def _staleness(result: Result) -> float:
    return 0.0 if result.servers is None else result.servers.mean_staleness
