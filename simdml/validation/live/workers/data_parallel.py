"""DistributedDataParallel training, with emulated layers or with real products."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from simdml.validation.live.jobs import LiveJob
from simdml.validation.live.launcher import Rank
from simdml.validation.live.workers.emulated import emulated_model
from simdml.validation.live.workers.setup import device, finish, join_group, now

LEARNING_RATE = 1e-3


def real_model(job: LiveJob) -> torch.nn.Sequential:
    """Return one square linear layer with ReLU for every layer of ``job``."""
    modules: list[torch.nn.Module] = []
    for _ in job.layers:
        modules += [torch.nn.Linear(job.width, job.width), torch.nn.ReLU()]
    return torch.nn.Sequential(*modules)


def model_and_input(job: LiveJob, speed: float, where: torch.device) -> tuple[torch.nn.Module, torch.Tensor]:
    """Return the job's model and something to feed it."""
    if job.real:
        return real_model(job).to(where), torch.rand(job.batch, job.width, device=where)
    return emulated_model(job.layers, speed).to(where), torch.ones(8, device=where, requires_grad=True)


def train(rank: Rank, argument: tuple[LiveJob, int]) -> list[float]:
    """Return when each of so many steps ended."""
    job, steps = argument
    join_group(rank)
    where = device(rank)
    inner, x = model_and_input(job, job.slowest if rank.rank == 0 else 1.0, where)
    options: dict[str, Any] = {} if job.bucket_bytes is None else {"bucket_cap_mb": job.bucket_bytes / 2**20}
    model = DistributedDataParallel(inner, **options)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    ends = []
    for _ in range(steps):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()
        finish(rank)
        ends.append(now())
    return ends
