"""A sharded parameter server over torch RPC: synchronous, asynchronous, or with bounded staleness.

Workers push each gradient as it becomes ready; the answer to a push is the new parameter, sent when the server's rule
allows: once all pushed (synchronous), at once (asynchronous), or once nobody is more than the bound behind (SSP, Ho et
al., NIPS 2013).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Final

import torch
from torch.distributed import rpc

from simdml.strategies.parameter_server.placement import place
from simdml.validation.live.jobs import LiveJob
from simdml.validation.live.launcher import Rank
from simdml.validation.live.workers.emulated import emulated_model
from simdml.validation.live.workers.setup import agent, join_agents, now

LEARNING_RATE: Final = 1e-3
UNBOUNDED: Final = 1_000_000_000


@dataclass(slots=True)
class _Key:
    """A parameter on its server: pushes of each worker so far, the sum in the making, and answers held back."""

    parameter: torch.Tensor
    total: torch.Tensor
    pushed: list[int]
    summed: int = 0
    waiting: list[tuple[int, torch.futures.Future[torch.Tensor]]] = field(default_factory=list)


class _Shard:
    """What one server process holds."""

    def __init__(self, job: LiveJob) -> None:
        self.workers = job.workers
        self.synchronous = job.strategy == "ps_sync"
        self.staleness = job.staleness if job.strategy == "ps_ssp" else UNBOUNDED
        self.lock = threading.Lock()
        self.keys: dict[int, _Key] = {}

    def push(self, key: int, worker: int, gradient: torch.Tensor) -> torch.futures.Future[torch.Tensor]:
        """Take a gradient; the future is the parameter the worker may go on with."""
        answer: torch.futures.Future[torch.Tensor] = torch.futures.Future()
        with self.lock:
            state = self.keys.get(key)
            if state is None:
                zeros = torch.zeros_like(gradient)
                state = self.keys[key] = _Key(zeros, torch.zeros_like(zeros), [0] * self.workers)
            state.pushed[worker] += 1
            ready = self._synchronous(state, gradient, answer) if self.synchronous else None
            if ready is None:
                state.parameter.add_(gradient, alpha=-LEARNING_RATE)
                state.waiting.append((state.pushed[worker] - self.staleness, answer))
                slowest = min(state.pushed)
                ready = [future for wanted, future in state.waiting if wanted <= slowest]
                state.waiting = [item for item in state.waiting if item[0] > slowest]
        # Asynchronous servers answer with what they have while others go on writing, as DistBelief's did.
        for future in ready:
            future.set_result(state.parameter)
        return answer

    def _synchronous(
        self, state: _Key, gradient: torch.Tensor, answer: torch.futures.Future[torch.Tensor]
    ) -> list[torch.futures.Future[torch.Tensor]]:
        state.total.add_(gradient)
        state.summed += 1
        state.waiting.append((0, answer))
        if state.summed < self.workers:
            return []
        state.parameter.add_(state.total, alpha=-LEARNING_RATE / self.workers)
        state.total.zero_()
        ready = [future for _, future in state.waiting]
        state.summed, state.waiting = 0, []
        return ready


_SHARD: list[_Shard] = []


@rpc.functions.async_execution  # type: ignore[untyped-decorator]
def _push(key: int, worker: int, gradient: torch.Tensor) -> torch.futures.Future[torch.Tensor]:
    return _SHARD[0].push(key, worker, gradient)


class _Worker:
    def __init__(self, rank: Rank, job: LiveJob) -> None:
        self.rank, self.job = rank.rank, job
        self.model = emulated_model(job.layers, job.slowest if rank.rank == 0 else 1.0)
        self.x = torch.ones(8, requires_grad=True)
        self.answers: list[tuple[torch.nn.Parameter, torch.futures.Future[torch.Tensor]]] = []
        parameters = list(self.model.parameters())
        sizes = [(str(number), 4 * parameter.numel()) for number, parameter in enumerate(parameters)]
        for key, (parameter, parts) in enumerate(
            zip(parameters, place(sizes, job.servers, "greedy_by_bytes"), strict=True)
        ):
            self._push_when_ready(key, parameter, agent(job.workers + parts[0][0]))

    def _push_when_ready(self, key: int, parameter: torch.nn.Parameter, server: str) -> None:
        def ready(ready_parameter: torch.Tensor) -> None:
            gradient = ready_parameter.grad
            self.answers.append((parameter, rpc.rpc_async(server, _push, args=(key, self.rank, gradient))))

        parameter.register_post_accumulate_grad_hook(ready)  # type: ignore[no-untyped-call]

    def step(self) -> None:
        """Compute gradients, and take the parameters that come back."""
        self.model.zero_grad()
        self.model(self.x).sum().backward()
        with torch.no_grad():
            for parameter, answer in self.answers:
                parameter.copy_(answer.wait())
        self.answers.clear()


def train(rank: Rank, argument: tuple[LiveJob, int]) -> list[float]:
    """Return when each of so many steps ended on a worker; nothing on a server."""
    job, steps = argument
    ends: list[float] = []
    if rank.rank >= job.workers:
        _SHARD[:] = [_Shard(job)]
    join_agents(rank)
    if rank.rank < job.workers:
        worker = _Worker(rank, job)
        for _ in range(steps):
            worker.step()
            ends.append(now())
        _leave(job, rank.rank)
    return ends


def _leave(job: LiveJob, worker: int) -> None:
    """Tell the servers that a worker will push no more, so that nobody waits for it."""
    for server in range(job.workers, job.hosts):
        rpc.rpc_sync(agent(server), _left, args=(worker,))


def _left(worker: int) -> None:
    shard = _SHARD[0]
    ready: list[tuple[torch.futures.Future[torch.Tensor], torch.Tensor]] = []
    with shard.lock:
        for state in shard.keys.values():
            state.pushed[worker] = UNBOUNDED
            if not shard.synchronous:
                slowest = min(state.pushed)
                ready += [(future, state.parameter) for wanted, future in state.waiting if wanted <= slowest]
                state.waiting = [item for item in state.waiting if item[0] > slowest]
    for future, value in ready:
        future.set_result(value)
