"""Jobs that come to a cluster: drawn from distributions, with the time each of them comes and runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from math import log, sqrt
from typing import Literal

import numpy as np

Distribution = Literal["constant", "exponential", "lognormal"]


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job of so many ``gpus`` that comes at ``submit_s`` and runs for ``runtime_s``; its user says ``estimate_s``."""

    number: int
    kind: str
    submit_s: float
    gpus: int
    runtime_s: float
    estimate_s: float
    priority: int = 0


@dataclass(frozen=True, slots=True)
class JobKind:
    """Jobs that come every ``every_s`` on average and run for ``runtime_s`` on average."""

    name: str
    gpus: int
    every_s: float
    runtime_s: float
    distribution: Distribution = "exponential"
    cv: float = 2.0
    overestimate: float = 1.0
    priority: int = 0

    @property
    def load_gpus(self) -> float:
        """GPUs that are busy with them on average."""
        return self.gpus * self.runtime_s / self.every_s


def draw_jobs(kinds: Sequence[JobKind], count: int, seed: int) -> list[QueuedJob]:
    """Return the first ``count`` jobs of all kinds; each kind has random numbers of its own."""
    children = np.random.SeedSequence(seed).spawn(len(kinds))
    streams = [_of_kind(kind, count, np.random.default_rng(child)) for kind, child in zip(kinds, children, strict=True)]
    first = islice(merge(*streams, key=lambda job: job[0]), count)
    return [
        QueuedJob(number, kind.name, submit, kind.gpus, runtime, runtime * kind.overestimate, kind.priority)
        for number, (submit, runtime, kind) in enumerate(first)
    ]


def _of_kind(kind: JobKind, count: int, random: np.random.Generator) -> list[tuple[float, float, JobKind]]:
    submits = np.cumsum(random.exponential(kind.every_s, size=count)).tolist()
    return [(submit, runtime, kind) for submit, runtime in zip(submits, _runtimes(kind, count, random), strict=True)]


def _runtimes(kind: JobKind, count: int, random: np.random.Generator) -> list[float]:
    match kind.distribution:
        case "constant":
            return [kind.runtime_s] * count
        case "exponential":
            drawn = random.exponential(kind.runtime_s, size=count)
        case "lognormal":
            # Mean and coefficient of variation of exp(normal(m, s)): exp(m + s^2 / 2) and sqrt(exp(s^2) - 1).
            variance = log(1 + kind.cv**2)
            drawn = random.lognormal(log(kind.runtime_s) - variance / 2, sqrt(variance), size=count)
    runtimes: list[float] = drawn.tolist()
    return runtimes
