"""``fleet``: several jobs on one cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from simdml.results.record import record
from simdml.scenario.clusters import build_cluster
from simdml.scenario.faults import build_conditions
from simdml.scenario.loading import Scenario, load_scenario
from simdml.scenario.schema.fleet import FleetSpec, QueueSpec
from simdml.studies.fleet.neighbours import build_jobs
from simdml.studies.fleet.planning import build_demand, build_queue, fleet_section
from simdml.studies.fleet.sharing import Layout, SharedStep, share
from simdml.studies.fleet.waiting import (
    Demand,
    Known,
    Tried,
    Waits,
    fewest_nodes,
    refuse_overload,
    resized,
    served_runs,
    smallest_cluster,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SHARES: Final = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True)
class Goal:
    """The fewest ``nodes`` on which a ``share`` of the jobs waits at most ``wait_s``, and what was tried."""

    wait_s: float
    share: float
    nodes: int
    tried: tuple[Tried, ...]

    @property
    def certain(self) -> bool:
        """Whether the wait on these nodes is below the goal, and with one fewer above it, with their half widths."""
        known = {each.nodes: each.wait for each in self.tried}
        here, fewer = known[self.nodes], known.get(self.nodes - 1)
        above = fewer is None or fewer.mean - fewer.half_width > self.wait_s
        return above and here.mean + here.half_width <= self.wait_s


@dataclass(frozen=True)
class QueueStudy:
    """How long jobs wait before the scenario's cluster, and how large it had to be to keep a goal.

    ``waits`` is None where the cluster as it is would be overloaded and only the goal was asked for.
    """

    cluster: str
    demand: Demand
    waits: Waits
    seed: int
    goal: Goal | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain data."""
        waits, queue, goal = self.waits, self.waits.queue, self.goal
        return {
            "nodes": queue.num_nodes,
            "gpus": queue.num_gpus,
            "policy": queue.policy,
            "placement": queue.placement,
            "num_jobs": len(waits.runs[0].jobs),
            "repeats": len(waits.runs),
            "seed": self.seed,
            "load_gpus": self.demand.load_gpus,
            "utilisation": asdict(waits.known(lambda run: run.utilisation)),
            "fragmentation": asdict(waits.known(lambda run: run.fragmentation)),
            "jobs_waiting": asdict(waits.known(lambda run: run.waiting)),
            "wait_s": self.wait_to_dict(None),
            "by_kind": {kind: self.wait_to_dict(kind) for kind in waits.kinds},
            "grows": waits.grows,
            "goal": None
            if goal is None
            else {
                "wait_s": goal.wait_s,
                "share": goal.share,
                "nodes": goal.nodes,
                "gpus": goal.nodes * queue.node_gpus,
                "certain": goal.certain,
                "tried": [asdict(each) for each in goal.tried],
            },
        }

    def wait_to_dict(self, kind: str | None) -> dict[str, Any]:
        """Return waits of one kind of jobs, or all, as plain data."""
        named = {f"p{round(100 * share)}": asdict(self.waits.wait_s(share, kind)) for share in SHARES}
        return {"mean": asdict(self.waits.mean_wait_s(kind)), **named}

    def wait_s(self, share: float, kind: str | None = None) -> Known:
        """Return the longest wait of so large a share of jobs."""
        return self.waits.wait_s(share, kind)


@dataclass(frozen=True, slots=True)
class SharingStudy:
    """How much longer steps of jobs take that share the network of a cluster."""

    cluster: str
    num_nodes: int
    layout: Layout
    phases: int
    steps: tuple[SharedStep, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Return a mapping a job."""
        return [asdict(each) | {"nodes": list(each.nodes), "slowdown": each.slowdown} for each in self.steps]

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain data."""
        return {"layout": self.layout, "phases": self.phases, "jobs": self.rows()}


@dataclass(frozen=True)
class Fleet:
    """What becomes of several jobs on one cluster."""

    name: str
    queue: QueueStudy | None = None
    sharing: SharingStudy | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        data = {
            "name": self.name,
            "queue": None if self.queue is None else self.queue.to_dict(),
            "sharing": None if self.sharing is None else self.sharing.to_dict(),
        }
        return record("fleet", data)

    def to_frame(self) -> pd.DataFrame:
        """Return one row a job of the queue: run, kind, GPUs, when it came, how long it ran and waited.

        Without a queue, one row a job that runs beside others: its step times.
        """
        import pandas as pd

        if self.queue is None and self.sharing is not None:
            return pd.DataFrame(self.sharing.rows())
        runs = () if self.queue is None else self.queue.waits.runs
        rows = [
            (number, job.kind, job.gpus, job.submit_s, job.runtime_s, wait_s)
            for number, run in enumerate(runs)
            for job, wait_s in zip(run.jobs, run.wait_s.tolist(), strict=True)
        ]
        return pd.DataFrame(rows, columns=["run", "kind", "gpus", "submit_s", "runtime_s", "wait_s"])

    def plot(self) -> Figure:
        """Return a figure: how long jobs of each kind wait, what more nodes change, how jobs slow each other."""
        from simdml.studies.fleet.figure import fleet_figure

        return fleet_figure(self)


def fleet(
    source: str | os.PathLike[str] | Mapping[str, Any],
    assignments: Sequence[str] = (),
    *,
    jobs: int | None = None,
    progress: Callable[[Tried], None] | None = None,
) -> Fleet:
    """Return what becomes of several jobs on one cluster: a scenario with a fleet section, as a file or a mapping.

    ``jobs`` processes simulate, as many as this machine has cores by default; ``progress`` is called with every number
    of nodes that was tried for a goal.

    Raises:
        SimdmlError: anything wrong with the scenario; its text is what the command line prints.
    """
    scenario = load_scenario(source, assignments)
    spec = fleet_section(scenario)
    queue = None if spec.queue is None else _queue(spec.queue, scenario, jobs, progress)
    return Fleet(scenario.name, queue, _sharing(spec, scenario) if spec.beside else None)


def _sharing(spec: FleetSpec, scenario: Scenario) -> SharingStudy:
    cluster = build_cluster(scenario)
    conditions = build_conditions(scenario, cluster)
    steps = share(build_jobs(spec, scenario, cluster), cluster, conditions, phases=spec.phases)
    return SharingStudy(cluster.name, cluster.num_nodes, spec.layout, spec.phases, steps)


def _queue(
    spec: QueueSpec, scenario: Scenario, jobs: int | None, progress: Callable[[Tried], None] | None
) -> QueueStudy:
    cluster = build_cluster(scenario)
    queue, demand = build_queue(spec, scenario, cluster), build_demand(spec, scenario)
    seed = scenario.spec.simulate.seed
    known: dict[int, Waits] = {}

    def wait_at(nodes: int) -> Waits:
        if nodes not in known:
            known[nodes] = served_runs(resized(queue, nodes), demand, spec.repeats, seed, jobs=jobs)
        return known[nodes]

    goal = None
    if spec.goal is not None:
        fewest = fewest_nodes(queue, demand)
        nodes, tried = smallest_cluster(wait_at, fewest, spec.goal.share, spec.goal.wait, progress)
        goal = Goal(spec.goal.wait, spec.goal.share, nodes, tried)
        shown = queue.num_nodes if queue.num_nodes >= fewest else nodes
        return QueueStudy(cluster.name, demand, wait_at(shown), seed, goal)
    refuse_overload(queue, demand)
    return QueueStudy(cluster.name, demand, wait_at(queue.num_nodes), seed)
