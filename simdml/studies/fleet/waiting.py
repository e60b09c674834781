"""How long jobs wait: a queue served several times with other arrivals, and the smallest cluster that keeps a goal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simdml.errors import InfeasibleError
from simdml.studies.fleet.arriving import JobKind, QueuedJob, draw_jobs
from simdml.studies.fleet.queue import Queue, Served, serve
from simdml.studies.sweep.workers import local_processes, num_cores, starting_processes, this_process

MOST_NODES: Final = 2**17
GROWS: Final = 1.5
"""A queue whose jobs wait so many times longer in the last quarter than in the second has no steady state."""
_Z: Final = 1.959964


@dataclass(frozen=True, slots=True)
class Demand:
    """What comes: kinds of jobs, of which ``count`` are drawn, or a ``trace``; the first of them do not count."""

    kinds: tuple[JobKind, ...] = ()
    trace: tuple[QueuedJob, ...] = ()
    count: int = 5000
    warm_up: float = 0.1

    def jobs(self, seed: int) -> Sequence[QueuedJob]:
        """Return the jobs of one run."""
        return self.trace or draw_jobs(self.kinds, self.count, seed)

    @property
    def uncounted(self) -> int:
        """Jobs at the beginning that are not counted: none of a trace."""
        return 0 if self.trace else min(int(self.warm_up * self.count), self.count - 2)

    @property
    def load_gpus(self) -> float:
        """GPUs that are busy on average if nothing has to wait for ever; of a trace, over the time it comes in."""
        if not self.trace:
            return sum(kind.load_gpus for kind in self.kinds)
        lasts_s = self.trace[-1].submit_s - self.trace[0].submit_s
        work = sum(job.gpus * job.runtime_s for job in self.trace)
        return work / lasts_s if lasts_s else float("inf")

    @property
    def largest_gpus(self) -> int:
        """GPUs of the largest job."""
        return max([*(kind.gpus for kind in self.kinds), *(job.gpus for job in self.trace)])


@dataclass(frozen=True, slots=True)
class Known:
    """A mean over runs with the half width of its 95 % confidence interval, 0 for a trace that is served once."""

    mean: float
    half_width: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Known:
        """Return the mean of independent runs; Student's t by its expansion (Abramowitz and Stegun, 26.7.5)."""
        if len(values) == 1:
            return cls(float(values[0]), 0.0)
        free, z = len(values) - 1, _Z
        t = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
        t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * free**3)
        return cls(float(np.mean(values)), t * float(np.std(values, ddof=1)) / sqrt(len(values)))


@dataclass(frozen=True)
class Waits:
    """What became of the jobs on one cluster, run by run."""

    queue: Queue
    runs: tuple[Served, ...]

    def known(self, of: Callable[[Served], float]) -> Known:
        """Return what ``of`` is over all runs."""
        return Known.of([of(run) for run in self.runs])

    def wait_s(self, share: float, kind: str | None = None) -> Known:
        """Return the longest wait of so large a share of jobs, of one kind or all."""
        values = [float(np.quantile(waits, share)) for run in self.runs if len(waits := _waits(run, kind))]
        return Known.of(values)

    def mean_wait_s(self, kind: str | None = None) -> Known:
        """Return the mean wait of jobs, of one kind or all."""
        return Known.of([float(waits.mean()) for run in self.runs if len(waits := _waits(run, kind))])

    @property
    def kinds(self) -> list[str]:
        """The kinds of jobs that came, in the order they did first."""
        return list(dict.fromkeys(job.kind for run in self.runs for job in run.jobs))

    @property
    def grows(self) -> bool:
        """Whether jobs wait longer and longer, so that what is reported depends on how long it was watched."""
        quarters = [np.array_split(run.wait_s, 4) for run in self.runs]
        second, last = (float(np.mean([parts[index].mean() for parts in quarters])) for index in (1, 3))
        return last > GROWS * second and last > 0


def _waits(run: Served, kind: str | None) -> NDArray[np.float64]:
    if kind is None:
        return run.wait_s
    return run.wait_s[np.array([job.kind == kind for job in run.jobs], dtype=np.bool_)]


def served_runs(queue: Queue, demand: Demand, repeats: int, seed: int, *, jobs: int | None = None) -> Waits:
    """Return what becomes of ``demand``, a trace once, else ``repeats`` times, on ``jobs`` processes."""
    seeds = [seed] if demand.trace else [seed + 1_000_003 * repeat for repeat in range(repeats)]
    processes = min(jobs or num_cores(), len(seeds))
    with this_process() if processes <= 1 else local_processes(processes) as workers, starting_processes():
        asked = [workers.executor.submit(_serve, queue, demand, each) for each in seeds]
        return Waits(queue, tuple(future.result() for future in asked))


def _serve(queue: Queue, demand: Demand, seed: int) -> Served:
    return serve(queue, demand.jobs(seed), demand.uncounted)


def refuse_overload(queue: Queue, demand: Demand) -> None:
    """Refuse a queue that grows for ever.

    Raises:
        InfeasibleError: with the fewest nodes that could be enough.
    """
    if not demand.trace and demand.load_gpus >= queue.num_gpus:
        raise InfeasibleError(
            f"jobs keep {demand.load_gpus:,.1f} GPUs busy on average and the cluster has {queue.num_gpus:,}: "
            f"the queue grows for ever",
            hint=f"at least {fewest_nodes(queue, demand):,} nodes, or fewer jobs",
        )


def fewest_nodes(queue: Queue, demand: Demand) -> int:
    """Return the fewest nodes that hold the largest job and are not busy all the time."""
    for_load = 1 if demand.trace else int(demand.load_gpus / queue.node_gpus) + 1
    return max(for_load, ceil(demand.largest_gpus / queue.node_gpus))


@dataclass(frozen=True, slots=True)
class Tried:
    """A number of nodes that was tried, and what a share of the jobs waits there."""

    nodes: int
    wait: Known
    utilisation: float


def smallest_cluster(
    wait_at: Callable[[int], Waits],
    fewest: int,
    share: float,
    limit_s: float,
    progress: Callable[[Tried], None] | None = None,
) -> tuple[int, tuple[Tried, ...]]:
    """Return the fewest nodes on which a share of jobs waits no longer than ``limit_s``, and all that were tried.

    By doubling and bisection, which takes for granted that more nodes make nobody wait longer; arrivals are the same
    for every number of nodes. ``progress`` is called with each number that was tried.

    Raises:
        InfeasibleError: more nodes than a cluster can have.
    """
    tried: dict[int, Tried] = {}

    def enough(nodes: int) -> bool:
        if nodes not in tried:
            waits = wait_at(nodes)
            tried[nodes] = Tried(nodes, waits.wait_s(share), waits.known(lambda run: run.utilisation).mean)
            if progress is not None:
                progress(tried[nodes])
        return tried[nodes].wait.mean <= limit_s

    low, high = fewest - 1, fewest
    while not enough(high):
        low, high = high, high + max(high - fewest, 1) * 2
        if high > MOST_NODES:
            raise InfeasibleError(f"not even {low:,} nodes keep the wait", hint="let jobs wait longer")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high, tuple(tried[nodes] for nodes in sorted(tried))


def resized(queue: Queue, nodes: int) -> Queue:
    """Return the queue before so many nodes."""
    return replace(queue, num_nodes=nodes)
