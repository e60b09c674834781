"""Pipelines over send and receive: layer placement, GPipe and 1F1B, in the order that simdml's schedules give.

Receives of a step are posted when it begins, sends do not hold up compute; a step ends when all of them are through.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed

from simdml.strategies.schedules import find_schedule
from simdml.validation.live.jobs import LiveJob
from simdml.validation.live.launcher import Rank
from simdml.validation.live.workers.emulated import emulated_model
from simdml.validation.live.workers.setup import device, finish, join_group, now

LEARNING_RATE = 1e-3


class _Stage:
    """One host's layers and the micro-batches in flight."""

    def __init__(self, rank: Rank, job: LiveJob) -> None:
        each = len(job.layers) // job.hosts
        layers = job.layers[rank.rank * each : (rank.rank + 1) * each]
        self.rank, self.job, self.where = rank, job, device(rank)
        self.model = emulated_model(layers).to(self.where)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LEARNING_RATE)
        self.first, self.last = rank.rank == 0, rank.rank == rank.size - 1
        self.elements = job.activation_bytes // 4
        self.source = torch.ones(self.elements, device=self.where, requires_grad=True)
        name = "gpipe" if job.strategy == "layer_placement" else job.strategy
        self.actions = find_schedule(name).actions(rank.rank, rank.size, job.microbatches, 1)

    def step(self) -> None:
        """Do one training step."""
        self.optimizer.zero_grad()
        forward = {} if self.first else self._post(self.rank.rank - 1)
        backward = {} if self.last else self._post(self.rank.rank + 1)
        held: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        sends: list[Any] = []
        for action in self.actions:
            if action.phase == "F":
                x = self._input(forward, action.microbatch)
                y = self.model(x)
                held[action.microbatch] = x, y
                if not self.last:
                    sends.append(distributed.isend(y.detach(), self.rank.rank + 1, tag=action.microbatch))
            else:
                x, y = held.pop(action.microbatch)
                gradient = torch.ones_like(y) if self.last else _received(backward, action.microbatch)
                y.backward(gradient)  # type: ignore[no-untyped-call]
                if not self.first:
                    assert x.grad is not None
                    sends.append(distributed.isend(x.grad, self.rank.rank - 1, tag=action.microbatch))
        self.optimizer.step()
        for work in sends:
            work.wait()
        finish(self.rank)

    def _post(self, peer: int) -> dict[int, tuple[torch.Tensor, Any]]:
        posted = {}
        for microbatch in range(self.job.microbatches):
            buffer = torch.empty(self.elements, device=self.where)
            posted[microbatch] = buffer, distributed.irecv(buffer, peer, tag=microbatch)
        return posted

    def _input(self, posted: dict[int, tuple[torch.Tensor, Any]], microbatch: int) -> torch.Tensor:
        if self.first:
            return self.source
        return _received(posted, microbatch).requires_grad_()


def _received(posted: dict[int, tuple[torch.Tensor, Any]], microbatch: int) -> torch.Tensor:
    buffer, work = posted.pop(microbatch)
    work.wait()
    return buffer


def train(rank: Rank, argument: tuple[LiveJob, int]) -> list[float]:
    """Return when each of so many steps ended."""
    job, steps = argument
    join_group(rank)
    stage = _Stage(rank, job)
    ends = []
    for _ in range(steps):
        stage.step()
        ends.append(now())
    return ends
