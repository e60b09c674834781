"""Predictions against runs on this machine: calibrate, then predict and run each job."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from simdml.errors import InfeasibleError
from simdml.validation.live.calibration import GROUPS, MachineFit, calibrate
from simdml.validation.live.hosts import MOST_HOSTS, Testbed, burst_bytes, loopback, namespaces, why_not
from simdml.validation.live.jobs import SERVERS, LiveJob
from simdml.validation.live.launcher import Launcher
from simdml.validation.live.prediction import Prediction, predict
from simdml.validation.live.running import Measurement, run_job

SECONDS_A_JOB: Final = 3.0
SECONDS_A_QUICK_JOB: Final = 1.0
FEWEST_CORES: Final = 2
SHAPED: Final = "network namespaces with shaped links, gloo"

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LiveRow:
    """A job, what it took and what was predicted before it ran; without ``shaped``, links had no rate."""

    job: LiveJob
    measured: Measurement
    predicted: Prediction
    shaped: bool = True

    @property
    def error(self) -> float:
        """Predicted over measured, minus 1."""
        return self.predicted.step_s / self.measured.step_s - 1.0

    @property
    def inside(self) -> bool:
        """Whether the measured time is in the 90 % interval."""
        return self.predicted.low_s <= self.measured.step_s <= self.predicted.high_s


@dataclass(frozen=True, slots=True)
class LiveValidation:
    """All rows, the fit they rest on, where they ran, and what to know about it."""

    rows: tuple[LiveRow, ...]
    fit: MachineFit
    setting: str
    notes: tuple[str, ...]
    seconds: float

    @property
    def median_error(self) -> float:
        """Median absolute error."""
        return median(abs(row.error) for row in self.rows)

    @property
    def worst_error(self) -> float:
        """Largest absolute error."""
        return max(abs(row.error) for row in self.rows)

    @property
    def share_inside(self) -> float:
        """Share of the rows whose measured time is in its interval."""
        return sum(row.inside for row in self.rows) / len(self.rows)


@dataclass(frozen=True, slots=True)
class Setting:
    """Where jobs run: hosts to open, the communication library, and what to say about it."""

    testbed: Callable[[int], AbstractContextManager[Testbed]]
    shaped: bool
    backend: str
    name: str
    most_hosts: int
    reason: str = ""


def choose_setting() -> Setting:
    """Return GPUs where this machine has several, else namespaces, else loopback with the reason."""
    gpus = num_gpus()
    if gpus > 1:
        return Setting(loopback, False, "nccl", f"{gpus} GPUs of this machine, NCCL", gpus)
    reason = why_not()
    if reason:
        # The cores are the network: no more ranks than they carry.
        most = max(2, os.cpu_count() or 1)
        return Setting(loopback, False, "gloo", "processes of this machine over loopback, unshaped, gloo", most, reason)
    return Setting(namespaces, True, "gloo", SHAPED, MOST_HOSTS)


def num_gpus() -> int:
    """Return how many GPUs a rank would see, found out without CUDA in this process."""
    with loopback(1) as testbed:
        return int(Launcher(testbed).run("benchmarks.machine", 1, None)[0]["cuda_devices"])


def validate_live(
    jobs: Sequence[LiveJob],
    setting: Setting,
    *,
    quick: bool = False,
    progress: Progress = lambda _: None,
) -> LiveValidation:
    """Calibrate, then predict and run ``jobs`` where ``setting`` says.

    Raises:
        InfeasibleError: the testbed cannot be made, or a job failed.
    """
    began = time.monotonic()
    fitting = [job for job in jobs if _runs(job, setting)]
    if not fitting:
        raise InfeasibleError(f"none of these jobs runs on {setting.name}", hint=f"--hosts {setting.most_hosts}")
    hosts = max(*(job.hosts for job in fitting), _hosts_to_calibrate(setting, quick=quick))
    budget = SECONDS_A_QUICK_JOB if quick else SECONDS_A_JOB
    rows = []
    with setting.testbed(hosts) as testbed:
        launcher = Launcher(testbed, setting.backend)
        fit = calibrate(launcher, progress, quick=quick)
        for number, job in enumerate(fitting, start=1):
            progress(f"{number} of {len(fitting)}: {job.strategy}, {job.hosts} hosts, {job.title}")
            predicted = predict(job, fit, shaped=setting.shaped)
            measured = run_job(launcher, job, predicted.step_s, budget)
            if measured.noisy:
                progress("    its steps differ much: again")
                measured = min(measured, run_job(launcher, job, predicted.step_s, budget), key=lambda m: m.noise)
            rows.append(LiveRow(job, measured, predicted, setting.shaped))
    notes = _notes(rows, setting, left_out=len(jobs) - len(fitting))
    return LiveValidation(tuple(rows), fit, setting.name, notes, time.monotonic() - began)


def _hosts_to_calibrate(setting: Setting, *, quick: bool) -> int:
    if not setting.shaped:
        return 2
    return GROUPS[1] if quick else GROUPS[-1]


def _runs(job: LiveJob, setting: Setting) -> bool:
    """Say whether there are hosts enough; parameter servers do not speak NCCL, and real products are for cores."""
    if setting.backend == "nccl" and (job.strategy in SERVERS or job.real):
        return False
    return job.hosts <= setting.most_hosts


def _notes(rows: Sequence[LiveRow], setting: Setting, *, left_out: int) -> tuple[str, ...]:
    notes = []
    if setting.reason:
        notes.append(f"no network namespaces: {setting.reason}; links are not shaped and share the cores")
    if setting.shaped:
        rates = sorted({row.job.rate_bits_per_s for row in rows})
        buckets = ", ".join(f"{burst_bytes(rate) / 1e3:.0f} kB at {rate / 1e6:.0f} Mb/s" for rate in rates)
        notes.append(f"links are shaped at both ends by token buckets of {buckets}")
    if left_out:
        notes.append(f"{left_out} jobs left out: they do not run in this setting")
    emulated = sum(not row.job.real for row in rows)
    if emulated:
        notes.append(f"{emulated} of {len(rows)} runs: emulated compute (layers sleep), real communication")
    cores = os.cpu_count() or 1
    if cores < FEWEST_CORES:
        notes.append("one core: ranks hold each other up, and times are longer than predicted")
    noisy = [f"{row.job.strategy} on {row.job.hosts}" for row in rows if row.measured.noisy]
    if noisy:
        notes.append(f"noisy runs, whose steps differ by more than 10 %: {', '.join(noisy)}")
    notes.append("calibrated on micro-benchmarks of this machine just before, on none of these runs")
    return tuple(notes)


def to_dict(validation: LiveValidation) -> dict[str, Any]:
    """Return the validation for JSON; seconds."""
    return {
        "setting": validation.setting,
        "notes": list(validation.notes),
        "median_absolute_error": validation.median_error,
        "worst_absolute_error": validation.worst_error,
        "share_inside_90_percent": validation.share_inside,
        "seconds": validation.seconds,
        "versions": dict(validation.fit.versions),
        "fit": _fit_dict(validation.fit),
        "runs": [_row_dict(row) for row in validation.rows],
    }


def _fit_dict(fit: MachineFit) -> dict[str, Any]:
    return {
        "all_reduce_overhead_s": fit.gloo.overhead_s,
        "all_reduce_step_s": fit.gloo.step_s,
        "send_s": fit.send_s,
        "call_s": fit.call_s,
        "layer_s": fit.layer_s,
        "product_flops_per_s": fit.product_flops_per_s,
        "payload_share": fit.payload_share,
        "log_spread": dict(fit.spread),
    }


def _row_dict(row: LiveRow) -> dict[str, Any]:
    job = row.job
    return {
        "strategy": job.strategy,
        "hosts": job.hosts,
        "rate_bits_per_s": job.rate_bits_per_s if row.shaped else None,
        "job": job.title,
        "emulated_compute": not job.real,
        "measured_s": row.measured.step_s,
        "steps": row.measured.steps,
        "noise": row.measured.noise,
        "predicted_s": row.predicted.step_s,
        "low_s": row.predicted.low_s,
        "high_s": row.predicted.high_s,
        "error": row.error,
    }
