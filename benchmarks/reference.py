"""Reference loops: how fast this machine is at what every discrete-event simulator does, to compare machines by."""

from __future__ import annotations

import time
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

import simpy

LIVE = 1_000
"""Entries on the heap, or processes, at any time."""


def heapq_events(num_events: int) -> None:
    """Take the earliest of ``LIVE`` entries and put one back, ``num_events`` times: no event loop does less."""
    sequence = count()
    heap = [(index / LIVE, next(sequence)) for index in range(LIVE)]
    heapify(heap)
    for _ in range(num_events):
        now, _ = heappop(heap)
        heappush(heap, (now + 1.0, next(sequence)))


def simpy_timeouts(num_events: int) -> None:
    """Let ``LIVE`` processes of stock SimPy wait, ``num_events`` times in all."""
    env = simpy.Environment()

    def waiting(start: float) -> Any:
        yield env.timeout(start)
        while True:
            yield env.timeout(1.0)

    for index in range(LIVE):
        env.process(waiting(index / LIVE))
    env.run(until=num_events / LIVE)


def per_second(loop: Any, num_events: int = 200_000, rounds: int = 5) -> float:
    """Return how many events of ``loop`` this machine does a second: the median of ``rounds``."""
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        loop(num_events)
        seconds.append(time.perf_counter() - began)
    return num_events / sorted(seconds)[rounds // 2]
