"""Micro-benchmarks the predictions are calibrated with. None of them is a job that is validated."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from torch import distributed

from simdml.validation.live.jobs import LiveLayer
from simdml.validation.live.launcher import Rank
from simdml.validation.live.workers.emulated import emulated_model
from simdml.validation.live.workers.setup import agent, device, finish, join_agents, join_group, now, versions

QUIET_S = 6e-3
"""Pause that refills the token buckets of the links."""


def machine(rank: Rank, argument: None) -> dict[str, Any]:
    """Return versions and counts of this machine."""
    del rank, argument
    return versions()


def all_reduce(rank: Rank, sizes: Sequence[tuple[int, int]]) -> list[list[tuple[float, float]]]:
    """Return (begin, end) of every repetition, for each (bytes, repetitions); links are quiet before each."""
    results = []
    join_group(rank)
    for nbytes, repetitions in sizes:
        tensor = torch.ones(max(1, nbytes // 4), device=device(rank))
        spans = []
        for _ in range(repetitions + 1):
            distributed.barrier()
            time.sleep(QUIET_S)
            begin = now()
            distributed.all_reduce(tensor)
            finish(rank)
            spans.append((begin, now()))
        results.append(spans[1:])
    return results


def send(rank: Rank, sizes: Sequence[tuple[int, int]]) -> list[list[float]]:
    """Return when rank 0 began to send each message, and on rank 1 when it had arrived; receives are posted early."""
    results = []
    join_group(rank)
    for nbytes, repetitions in sizes:
        tensor = torch.ones(max(1, nbytes // 4), device=device(rank))
        times = []
        for _ in range(repetitions + 1):
            posted = distributed.irecv(tensor, 0) if rank.rank == 1 else None
            distributed.barrier()
            time.sleep(QUIET_S)
            begin = now()
            work = posted or distributed.isend(tensor, 1)
            assert work is not None
            work.wait()
            finish(rank)
            times.append(begin if rank.rank == 0 else now())
        results.append(times[1:])
    return results


def _exchange(tensor: torch.Tensor) -> tuple[torch.Tensor, float, float]:
    arrived = now()
    tensor.add_(tensor)
    return tensor, arrived, now()


def remote_calls(rank: Rank, sizes: Sequence[tuple[int, int]]) -> list[list[tuple[float, float, float]]]:
    """Return (seconds there, seconds at the server, seconds back) of calls from rank 0 to rank 1."""
    from torch.distributed import rpc

    results = []
    join_agents(rank)
    for nbytes, repetitions in sizes if rank.rank == 0 else ():
        tensor = torch.ones(max(1, nbytes // 4))
        times = []
        for _ in range(repetitions + 1):
            time.sleep(QUIET_S)
            begin = now()
            _, arrived, left = rpc.rpc_sync(agent(1), _exchange, args=(tensor,))
            times.append((arrived - begin, left - arrived, now() - left))
        results.append(times[1:])
    return results


def layers(rank: Rank, argument: tuple[int, int, float]) -> list[tuple[float, float, float]]:
    """Return (forward, backward, optimizer) seconds of steps of so many emulated layers of so many bytes each.

    Every layer sleeps the given seconds each way; ranks go in step, as they do in a job.
    """
    count, nbytes, sleep_s = argument
    steps = []
    join_group(rank)
    model = emulated_model((LiveLayer((nbytes // 4,), sleep_s, sleep_s),) * count)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    x = torch.ones(8, requires_grad=True)
    for _ in range(12):
        optimizer.zero_grad()
        distributed.barrier()
        begin = now()
        loss = model(x).sum()
        middle = now()
        loss.backward()
        late = now()
        optimizer.step()
        steps.append((middle - begin, late - middle, now() - late))
    return steps[3:]


def products(rank: Rank, sizes: Sequence[tuple[int, int]]) -> list[list[tuple[float, float]]]:
    """Return (forward, backward) seconds of a square linear layer and ReLU, for each (width, batch)."""
    results = []
    join_group(rank)
    for width, batch in sizes:
        model = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.ReLU())
        x = torch.rand(batch, width, requires_grad=True)
        times = []
        for _ in range(8):
            model.zero_grad()
            distributed.barrier()
            begin = now()
            loss = model(x).sum()
            middle = now()
            loss.backward()
            times.append((middle - begin, now() - middle))
        results.append(times[2:])
    return results


def memory(rank: Rank, nbytes: int) -> dict[str, float]:
    """Return seconds a byte of copying a gradient into a bucket and of summing it on a server, all ranks at once."""
    join_group(rank)
    source, target = torch.ones(nbytes // 4), torch.empty(nbytes // 4)
    actions: dict[str, Callable[[], Any]] = {
        "copy": lambda: target.copy_(source),
        "sum": lambda: target.add_(source),
    }
    found = {}
    for name, action in actions.items():
        seconds = []
        for _ in range(15):
            distributed.barrier()
            begin = now()
            action()
            seconds.append(now() - begin)
        found[name] = median(seconds[3:]) / nbytes
    return found
