"""Jobs that run at the same time on nodes of one cluster and share its network: how much each slows the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, sqrt
from typing import Final, Literal

from simdml.cluster.cluster import Cluster
from simdml.costs.merging import merge_costs, owned, pause
from simdml.costs.model import CostModel
from simdml.engine.conditions import AS_RATED, Conditions
from simdml.engine.simulator import Recording
from simdml.engine.simulator import simulate as simulate_program
from simdml.errors import InfeasibleError
from simdml.program.instructions import Activity, Compute
from simdml.program.merging import MergedMesh, merge
from simdml.program.program import Program, RankProgram

Layout = Literal["packed", "spread"]
STEPS: Final = 24
"""Steps of the slowest job that are simulated, of which the second half is measured."""
STEPS_WITH_JITTER: Final = 120
FEWEST_STEPS: Final = 4
STEPS_OF_FASTEST: Final = 2000
"""Where the fastest job would do more meanwhile, fewer are simulated."""
_GOLDEN: Final = (sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class PlacedJob:
    """A job on whole nodes of the cluster: its program on those devices, and its costs."""

    name: str
    program: Program
    costs: CostModel
    nodes: tuple[int, ...]

    @property
    def num_gpus(self) -> int:
        """GPUs it uses."""
        return self.program.mesh.num_ranks


@dataclass(frozen=True, slots=True)
class SharedStep:
    """Step times of a job: alone on its nodes, and with the others, on average over how they are in phase.

    ``fastest_s`` and ``slowest_s`` are the averages of the best and the worst phase.
    """

    name: str
    num_gpus: int
    nodes: tuple[int, ...]
    alone_s: float
    together_s: float
    fastest_s: float
    slowest_s: float

    @property
    def slowdown(self) -> float:
        """How many times longer a step takes with the others."""
        return self.together_s / self.alone_s


def deal(nodes: Sequence[int], wanted: Sequence[int], layout: Layout) -> list[tuple[int, ...]]:
    """Return which nodes each job gets: consecutive ones, or one at a time in turn.

    Raises:
        InfeasibleError: the jobs want more nodes than there are.
    """
    if sum(wanted) > len(nodes):
        raise InfeasibleError(
            f"the jobs want {sum(wanted):,} nodes and the cluster has {len(nodes):,}",
            hint="use more nodes: cluster: {name: ..., nodes: ...}, or fewer GPUs for each job",
        )
    free = iter(nodes)
    if layout == "packed":
        return [tuple(next(free) for _ in range(count)) for count in wanted]
    dealt: list[list[int]] = [[] for _ in wanted]
    while any(len(mine) < count for mine, count in zip(dealt, wanted, strict=True)):
        for mine, count in zip(dealt, wanted, strict=True):
            if len(mine) < count:
                mine.append(next(free))
    return [tuple(mine) for mine in dealt]


def placed(
    name: str,
    program: Program,
    costs: CostModel,
    cluster: Cluster,
    nodes: tuple[int, ...],
    servers: tuple[int, ...] = (),
) -> PlacedJob:
    """Return the job on ``nodes``: what it would run on the first nodes runs on these, GPU by GPU.

    Its parameter servers run on ``servers`` where they would have nodes of their own.
    """
    gpus = [each for node in nodes for each in cluster.gpus_of(node)]
    devices = tuple(gpus[device] for device in program.devices().tolist())
    moved = dict(zip(own_server_nodes(program, cluster), servers, strict=True))
    moved |= dict(zip((node for node in range(cluster.num_nodes) if cluster.gpus_of(node)), nodes, strict=False))
    shards = tuple(replace(each, nodes=tuple(moved[node] for node in each.nodes)) for each in program.servers)
    placed_program = replace(program, name=name, device_of_rank=devices, servers=shards)
    return PlacedJob(name, placed_program, costs, (*nodes, *servers))


def own_server_nodes(program: Program, cluster: Cluster) -> tuple[int, ...]:
    """Return the nodes without GPUs that the parameter servers of ``program`` are on."""
    nodes = dict.fromkeys(node for server in program.servers for node in server.nodes)
    return tuple(node for node in nodes if not cluster.gpus_of(node))


def nodes_for(gpus: int, cluster: Cluster) -> int:
    """Return how many whole nodes hold so many GPUs."""
    return ceil(gpus / len(cluster.gpus_of(cluster.node_of(0))))


def share(
    jobs: Sequence[PlacedJob], cluster: Cluster, conditions: Conditions = AS_RATED, *, phases: int = 4
) -> tuple[SharedStep, ...]:
    """Return step times of ``jobs`` alone and together.

    Jobs begin at ``phases`` different offsets to each other, each a part of a job's step alone, as whether they meet on
    the network depends on them; deterministic jobs of equal length may keep theirs for ever.
    """
    alone = [_alone_s(job, cluster, conditions) for job in jobs]
    together = [_together_s(jobs, alone, cluster, conditions, phase / phases) for phase in range(phases)]
    return tuple(
        SharedStep(
            job.name,
            job.num_gpus,
            job.nodes,
            alone[index],
            sum(times[index] for times in together) / phases,
            min(times[index] for times in together),
            max(times[index] for times in together),
        )
        for index, job in enumerate(jobs)
    )


def _alone_s(job: PlacedJob, cluster: Cluster, conditions: Conditions) -> float:
    return simulate_program(job.program, cluster, job.costs, conditions).step_time_s


def _together_s(
    jobs: Sequence[PlacedJob], alone_s: Sequence[float], cluster: Cluster, conditions: Conditions, phase: float
) -> list[float]:
    costs = [job.costs for job in jobs]
    late = [(phase + part * _GOLDEN * (phase > 0)) % 1 * alone_s[part] if part else 0.0 for part in range(len(jobs))]
    programs = [_delayed(job.program, seconds) for job, seconds in zip(jobs, late, strict=True)]
    of_device: Mapping[int, int] = {
        device: part for part, program in enumerate(programs) for device in program.devices().tolist()
    }
    of_node = {node: part for part, job in enumerate(jobs) for node in job.nodes}
    program = merge(programs, partial(owned, costs))
    wanted = STEPS_WITH_JITTER if conditions.jitter_cv else STEPS
    steps = max(min(wanted, int(STEPS_OF_FASTEST * min(alone_s) / max(alone_s))), FEWEST_STEPS)
    recording = simulate_program(program, cluster, merge_costs(costs, of_device, of_node), conditions, steps=steps)
    return [_step_s(recording, part) for part in range(len(jobs))]


def _delayed(program: Program, seconds: float) -> Program:
    """Return ``program`` whose ranks begin so much later."""
    if not seconds:
        return program
    wait = Compute("begins later", Activity.FORWARD, (pause(seconds),))
    return replace(program, classes=tuple(_after(wait, each) for each in program.classes))


def _after(wait: Compute, rank_program: RankProgram) -> RankProgram:
    first, *others = rank_program.streams
    return replace(rank_program, streams=(replace(first, beforehand=(wait, *first.beforehand)), *others))


def _step_s(recording: Recording, part: int) -> float:
    """Return the mean step of a job over the second half of its steps that all of its ranks have ended."""
    mesh = recording.execution.program.mesh
    assert isinstance(mesh, MergedMesh)
    ranks = zip(recording.execution.ranks, recording.step_ends, strict=True)
    ends = [ended for rank, ended in ranks if mesh.part_of_rank(rank.rank) == part]
    steps = min(map(len, ends))
    begin = steps // 2
    last = [max(each[step] for each in ends) for step in range(steps)]
    return (last[-1] - last[begin - 1]) / (steps - begin)
