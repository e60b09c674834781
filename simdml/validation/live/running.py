"""Runs live jobs and measures their steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final

from simdml.errors import InfeasibleError
from simdml.validation.live.jobs import PIPELINES, SERVERS, LiveJob
from simdml.validation.live.launcher import TIMEOUT_S, Launcher

WARM_UP: Final = 3
"""Steps that are not counted: DDP's first has one bucket of everything, its second rebuilds them."""
FEWEST_STEPS, MOST_STEPS = 6, 16
NOISY: Final = 0.10


@dataclass(frozen=True, slots=True)
class Measurement:
    """``step_s`` a step: the median, or of an asynchronous job the time in which all workers do one each.

    ``noise`` is half the range between the quartiles of the steps, as a share of the median.
    """

    step_s: float
    steps: int
    noise: float

    @property
    def noisy(self) -> bool:
        """Whether steps differ so much that their median says little."""
        return self.noise > NOISY


def program_of(job: LiveJob) -> str:
    """Return the worker program that runs ``job``."""
    if job.strategy in PIPELINES:
        return "pipeline.train"
    return "parameter_server.train" if job.strategy in SERVERS else "data_parallel.train"


def run_job(launcher: Launcher, job: LiveJob, expected_s: float, budget_s: float) -> Measurement:
    """Run ``job`` for as many steps as ``budget_s`` has room for if one takes ``expected_s``.

    Raises:
        InfeasibleError: a rank failed, or the testbed has too few hosts.
    """
    if job.hosts > len(launcher.testbed.hosts):
        raise InfeasibleError(f"{job.title} needs {job.hosts} hosts and there are {len(launcher.testbed.hosts)}")
    launcher.testbed.set_rate(job.rate_bits_per_s)
    steps = max(FEWEST_STEPS, min(MOST_STEPS, round(budget_s / expected_s))) + WARM_UP
    timeout_s = TIMEOUT_S + 5 * steps * expected_s
    ends = [each for each in launcher.run(program_of(job), job.hosts, (job, steps), timeout_s) if each]
    if job.strategy in SERVERS and job.strategy != "ps_sync":
        return together(ends)
    return in_step(ends)


def in_step(ends: Sequence[Sequence[float]]) -> Measurement:
    """Return the median time between the ends of steps, each the end of its last rank."""
    last = [max(step) for step in zip(*ends, strict=True)]
    seconds = [end - begin for begin, end in pairwise(last)][WARM_UP - 1 :]
    return Measurement(median(seconds), len(seconds), _noise(seconds))


def together(ends: Sequence[Sequence[float]]) -> Measurement:
    """Return the time in which workers that step on their own together do as many steps as there are workers.

    Counted while all of them run and have warmed up.
    """
    begin, end = max(each[WARM_UP - 1] for each in ends), min(each[-1] for each in ends)
    rate, counted, seconds = 0.0, 0, []
    for each in ends:
        inside = [time for time in each if begin <= time <= end]
        if len(inside) < 2:
            raise InfeasibleError("workers of an asynchronous job ran side by side for less than a step")
        rate += (len(inside) - 1) / (inside[-1] - inside[0])
        counted += len(inside) - 1
        own = [late - early for early, late in pairwise(inside)]
        seconds += [value / median(own) for value in own]
    return Measurement(len(ends) / rate, counted, _noise(seconds))


def _noise(seconds: Sequence[float]) -> float:
    ordered = sorted(seconds)
    quarter = len(ordered) // 4
    return (ordered[-1 - quarter] - ordered[quarter]) / 2 / median(ordered)
