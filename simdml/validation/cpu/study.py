"""Predicted against measured training steps: fit a profile to this CPU's kernels, then predict networks with it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from simdml.calibration.logs.readings import Reading, Readings
from simdml.costs.fitting.named_fit import Measurements, NamedFit, make_fit
from simdml.errors import InfeasibleError
from simdml.scenario.simulate import run
from simdml.validation.cpu.networks import NETWORKS, QUICK, Network
from simdml.validation.cpu.programs import Progress, measure

PROFILE: Final = "this_cpu"
_EVERY: Final = ("matmul linear", "elementwise", "normalization", "loss", "optimizer", "copy")
_OF_IMAGES: Final = ("convolution nchw", "pooling")
_OF_SEQUENCES: Final = ("attention flash", "embedding")


@dataclass(frozen=True, slots=True)
class Effort:
    """How long kernels are timed, and how narrow the interval of a median must be, relative to it.

    A shared machine seldom gives the programs' own 0.02.
    """

    minutes: float
    seconds_per_case: float
    half_width: float
    sizes: tuple[str, ...]
    networks: tuple[Network, ...]

    def kernel_words(self) -> list[str]:
        """Return the words of compute.py's command line: the cases that a profile of the networks is fitted to."""
        cases = list(_EVERY)
        cases += _OF_IMAGES if any(network.sequence is None for network in self.networks) else ()
        cases += _OF_SEQUENCES if any(network.sequence for network in self.networks) else ()
        only = [word for case in cases for word in ("--only", case)]
        return [
            "--dtypes",
            "fp32",
            "--minutes",
            str(self.minutes),
            *self.sizes,
            *self._words(self.seconds_per_case),
            *only,
        ]

    def step_words(self) -> list[str]:
        """Return the words of training.py's command line."""
        only = [word for network in self.networks for word in ("--only", f"{network.name} plain")]
        return ["--steps-alone", *self._words(10 * self.seconds_per_case), *only]

    def _words(self, seconds: float) -> list[str]:
        return ["--seconds-per-case", str(seconds), "--half-width", str(self.half_width)]


THOROUGH: Final = Effort(2.5, 0.25, 0.05, (), NETWORKS)
SHORT: Final = Effort(0.5, 0.05, 0.1, ("--small", "--limit", "90"), QUICK)


@dataclass(frozen=True, slots=True)
class CpuRow:
    """A network, what a step took and what was predicted; seconds."""

    network: Network
    measured_s: float
    spread: float
    noisy: bool
    predicted_s: float

    @property
    def error(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted_s / self.measured_s - 1.0


@dataclass(frozen=True, slots=True)
class CpuValidation:
    """All rows, how the profile fits its own kernels, and what was measured on."""

    rows: tuple[CpuRow, ...]
    fit: NamedFit
    environment: Mapping[str, Any]
    kernels: int
    noisy_kernels: int

    @property
    def threads(self) -> int:
        """Threads that computed."""
        return int(self.environment["threads"])

    @property
    def median_error(self) -> float:
        """Median absolute error."""
        return median(abs(row.error) for row in self.rows)

    @property
    def worst_error(self) -> float:
        """Largest absolute error."""
        return max(abs(row.error) for row in self.rows)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know."""
        by_process = self.environment.get("clock") == "process"
        clock = "CPU seconds of one thread, which other programs do not lengthen" if by_process else "wall clock"
        left_out = f"{self.noisy_kernels} of {self.kernels} kernels were noisy and left out of the profile"
        noisy = [row.network.title for row in self.rows if row.noisy]
        return (
            f"times are {clock}; no step of a network was used for the profile",
            left_out,
            *((f"noisy steps: {'; '.join(noisy)}",) if noisy else ()),
        )


def validate_cpu(
    folder: Path, *, threads: int = 1, quick: bool = False, progress: Progress = lambda _: None
) -> CpuValidation:
    """Time kernels and steps of networks on this machine, and compare the steps with predictions from the kernels.

    ``folder`` gets the readings, the profile and its device; readings that are there already are kept, so that an
    interrupted validation goes on.

    Raises:
        InfeasibleError: a program failed, or too few kernels were steady.
    """
    effort = SHORT if quick else THOROUGH
    kernels = measure("compute", folder, threads, effort.kernel_words(), progress)
    steps = measure("training", folder, threads, effort.step_words(), progress)
    return compare(kernels, steps, effort.networks, folder)


def compare(kernels: Readings, steps: Readings, networks: Sequence[Network], folder: Path) -> CpuValidation:
    """Fit a profile to ``kernels``, predict ``networks`` with it, and set that beside what ``steps`` say.

    ``folder`` gets the profile and its device.

    Raises:
        InfeasibleError: too few kernels were steady, or a network is not among the steps.
    """
    fit = make_fit(PROFILE, Measurements((kernels,), ()), cluster=None)
    for suffix, text in fit.files.items():
        (folder / f"{PROFILE}{suffix}").write_text(text, encoding="utf-8")
    found = {str(reading.case.get("model")): reading for reading in steps.readings}
    return CpuValidation(
        rows=tuple(_row(network, found, folder) for network in networks),
        fit=fit,
        environment=kernels.environment,
        kernels=len(kernels.readings),
        noisy_kernels=len(kernels.noisy),
    )


def _row(network: Network, found: Mapping[str, Reading], folder: Path) -> CpuRow:
    if network.name not in found:
        raise InfeasibleError(f"the step of {network.name} was not measured", hint="look at cpu_training.json: skipped")
    reading = found[network.name]
    return CpuRow(network, reading.seconds, reading.spread, reading.noisy, predict(network, folder))


def predict(network: Network, folder: Path) -> float:
    """Return the step time of ``network`` with the profile in ``folder``, by a scenario of one device."""
    model: Any = network.name
    if network.config:
        path = folder / f"{network.name}.json"
        path.write_text(json.dumps(dict(network.config), indent=1), encoding="utf-8")
        model = {"config": str(path.resolve())}
    profile = folder.resolve() / PROFILE
    return run(
        {
            "cluster": {"nodes": 1, "node": {"gpus": {"type": f"{profile}_device.yaml", "count": 1}}},
            "model": model,
            "training": network.training(),
            "strategy": "ddp",
            "profile": f"{profile}.yaml",
        }
    ).step_time_s


def to_dict(validation: CpuValidation) -> dict[str, Any]:
    """Return the validation for JSON; seconds."""
    return {
        "environment": dict(validation.environment),
        "threads": validation.threads,
        "median_absolute_error": validation.median_error,
        "worst_absolute_error": validation.worst_error,
        "notes": list(validation.notes),
        "networks": [_row_dict(row) for row in validation.rows],
    }


def _row_dict(row: CpuRow) -> dict[str, Any]:
    return {
        "network": row.network.name,
        "title": row.network.title,
        "measured_s": row.measured_s,
        "spread": row.spread,
        "noisy": row.noisy,
        "predicted_s": row.predicted_s,
        "error": row.error,
    }
