"""A queue of gang-scheduled jobs before a cluster, event by event."""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simdml.errors import InfeasibleError
from simdml.studies.fleet.arriving import QueuedJob
from simdml.studies.fleet.packing import Placement, Taken, give_back, take
from simdml.studies.fleet.policies import POLICIES, Moment, PolicyName, Running, order

MOST_WAITING: Final = 20_000


@dataclass(frozen=True, slots=True)
class Queue:
    """The cluster and its rules."""

    num_nodes: int
    node_gpus: int
    policy: PolicyName = "fifo"
    placement: Placement = "best_fit"

    @property
    def num_gpus(self) -> int:
        """All GPUs."""
        return self.num_nodes * self.node_gpus


@dataclass(frozen=True, slots=True)
class Served:
    """What became of jobs, in the order they came: how long each waited.

    From the first arrival that counts to the last, ``utilisation`` is the share of GPUs that were busy,
    ``fragmentation`` the share that was free while the first job in the queue needed no more than what was free and yet
    fitted nowhere, and ``waiting`` how many jobs waited on average.
    """

    jobs: tuple[QueuedJob, ...]
    wait_s: NDArray[np.float64]
    utilisation: float
    fragmentation: float
    waiting: float
    makespan_s: float


def serve(queue: Queue, jobs: Sequence[QueuedJob], uncounted: int = 0) -> Served:
    """Return what becomes of ``jobs``, sorted by when they come; the first ``uncounted`` are left out of the numbers.

    Raises:
        InfeasibleError: a job larger than the cluster, or a queue that grows without end.
    """
    largest = max(jobs, key=lambda job: job.gpus)
    if largest.gpus > queue.num_gpus:
        raise InfeasibleError(
            f"job {largest.kind} wants {largest.gpus:,} GPUs and the cluster has {queue.num_gpus:,}",
            hint=f"at least {-(-largest.gpus // queue.node_gpus):,} nodes are needed",
        )
    line = _Line(queue, jobs, uncounted)
    line.run()
    return line.served()


class _Line:
    def __init__(self, queue: Queue, jobs: Sequence[QueuedJob], uncounted: int) -> None:
        self.queue, self.jobs, self.uncounted = queue, jobs, uncounted
        self.policy, self.key = POLICIES[queue.policy], order(queue.policy)
        self.free = np.full(queue.num_nodes, queue.node_gpus, dtype=np.int64)
        self.waiting: list[QueuedJob] = []
        self.running: dict[int, Running] = {}
        self.ends: list[tuple[float, int, Taken]] = []
        self.start_s = np.zeros(len(jobs))
        self.position = {job.number: index for index, job in enumerate(jobs)}
        self.now_s = jobs[0].submit_s
        self.window = (jobs[uncounted].submit_s, jobs[-1].submit_s)
        self.busy = self.stuck = self.queued = 0.0
        self.blocked = False

    def run(self) -> None:
        """Let everything come, start and end."""
        arrived = 0
        while arrived < len(self.jobs) or self.ends:
            next_end = self.ends[0][0] if self.ends else np.inf
            next_arrival = self.jobs[arrived].submit_s if arrived < len(self.jobs) else np.inf
            self._pass(min(next_end, next_arrival))
            while self.ends and self.ends[0][0] <= self.now_s:
                _, number, taken = heapq.heappop(self.ends)
                give_back(self.free, taken)
                del self.running[number]
            while arrived < len(self.jobs) and self.jobs[arrived].submit_s <= self.now_s:
                insort(self.waiting, self.jobs[arrived], key=self.key)
                arrived += 1
            self._start()

    def _start(self) -> None:
        if not self.waiting:
            return
        if len(self.waiting) > MOST_WAITING:
            raise InfeasibleError(f"more than {MOST_WAITING:,} jobs wait", hint="use more nodes")
        running = list(self.running.values())
        moment = Moment(self.now_s, self.waiting, running, self.free, self.queue.node_gpus, self.queue.placement)
        started = list(self.policy(moment))
        for job, taken in started:
            take(self.free, taken)
            self.running[job.number] = Running(taken, self.now_s + job.estimate_s)
            heapq.heappush(self.ends, (self.now_s + job.runtime_s, job.number, taken))
            self.start_s[self.position[job.number]] = self.now_s
        if started:
            gone = {job.number for job, _ in started}
            self.waiting = [job for job in self.waiting if job.number not in gone]
        self.blocked = bool(self.waiting) and self.waiting[0].gpus <= int(self.free.sum())

    def _pass(self, until_s: float) -> None:
        """Go to ``until_s`` and keep the books between the first and the last arrival that count."""
        begin, end = max(self.now_s, self.window[0]), min(until_s, self.window[1])
        if end > begin:
            free = int(self.free.sum())
            self.busy += (self.queue.num_gpus - free) * (end - begin)
            self.queued += len(self.waiting) * (end - begin)
            self.stuck += free * (end - begin) if self.blocked else 0.0
        if not self.waiting:
            self.blocked = False
        self.now_s = until_s

    def served(self) -> Served:
        """Return the numbers."""
        counted = tuple(self.jobs[self.uncounted :])
        submits = np.array([job.submit_s for job in counted])
        watched_s = self.window[1] - self.window[0]
        gpu_s = max(self.queue.num_gpus * watched_s, 1e-300)
        return Served(
            counted,
            self.start_s[self.uncounted :] - submits,
            self.busy / gpu_s,
            self.stuck / gpu_s,
            self.queued / watched_s if watched_s else 0.0,
            self.now_s - self.jobs[0].submit_s,
        )
