"""Measurements to a named fit: the files it becomes, and how well it holds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from simdml.calibration.communication import GlooFit, NcclFit
from simdml.calibration.communication_file import load_gloo_fit
from simdml.calibration.fitting.communication_text import communication_text
from simdml.calibration.logs.collective_log import CollectiveLog
from simdml.calibration.logs.loading import load_measurements
from simdml.calibration.logs.readings import Readings
from simdml.calibration.profile import Profile, default_profile
from simdml.cluster.cluster import Cluster
from simdml.cluster.device import Device, find_device
from simdml.cluster.device_file import device_text
from simdml.costs.collectives.gloo import gloo_steps
from simdml.costs.collectives.nccl_tables import DEFAULT_VERSION
from simdml.costs.compute import RooflineCost
from simdml.costs.fitting.by_protocol import seconds_by
from simdml.costs.fitting.collectives import (
    KINDS,
    communicator_of,
    fit_gloo,
    fit_nccl,
    modelled_rows,
)
from simdml.costs.fitting.compute import fit_compute
from simdml.costs.fitting.cpu_device import cpu_device
from simdml.costs.fitting.profile_text import profile_mapping, profile_text
from simdml.costs.fitting.samples import KernelSamples, kernel_samples
from simdml.errors import InfeasibleError, UnknownNameError

COMMENT = "Fitted by simdml calibrate fit."
DEVICE_SUFFIX = "_device.yaml"
FITTED, HELD_OUT, THESE = "the fitted ones", "held out", "these readings"


@dataclass(frozen=True, slots=True)
class Quality:
    """How one group of readings fits: counts, median and worst |error|, spread; ``basis`` tells what was tested."""

    group: str
    fitted: int
    tested: int
    median: float
    worst: float
    spread: float
    basis: str


@dataclass(frozen=True, slots=True)
class NamedFit:
    """``files`` by what to append to the name, the ``qualities``, and ``notes`` on what was left out."""

    kind: str
    files: Mapping[str, str]
    qualities: tuple[Quality, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Measurements:
    """Everything read: readings of kernels, and logs of collectives."""

    kernels: tuple[Readings, ...]
    logs: tuple[CollectiveLog, ...]


def load_all(paths: Sequence[Path]) -> Measurements:
    """Return what is in the files; raises DocumentError for a damaged one."""
    kernels: list[Readings] = []
    logs: list[CollectiveLog] = []
    for path in paths:
        loaded = load_measurements(path)
        if isinstance(loaded, Readings):
            kernels.append(loaded)
        else:
            logs += loaded
    return Measurements(tuple(kernels), tuple(logs))


def make_fit(
    name: str, measurements: Measurements, *, cluster: Cluster | None, nccl: str = "", device: str = ""
) -> NamedFit:
    """Return the fit called ``name``: a profile from kernels, NCCL's corrections or gloo's constants from logs.

    ``cluster`` is where NCCL's logs were measured; ``nccl`` its version and ``device`` the GPU where files do not say.

    Raises:
        InfeasibleError: two kinds of measurements at once, too few, or something is not known.
        UnknownNameError: no device of that name.
    """
    if measurements.kernels and measurements.logs:
        raise InfeasibleError("these are readings of kernels and of collectives", hint="fit them one at a time")
    if measurements.kernels:
        return _fit_kernels(name, measurements.kernels, device)
    libraries = {"gloo" if log.library == "gloo" else "nccl" for log in measurements.logs}
    if len(libraries) > 1:
        raise InfeasibleError("these are logs of NCCL and of gloo", hint="fit them one at a time")
    tuned = tuple(log for log in measurements.logs if log.collective in KINDS)
    notes = tuple(
        f"left out: {log.collective} of {log.source}, whose algorithm is not chosen by size"
        for log in measurements.logs
        if log.collective not in KINDS
    )
    if libraries == {"gloo"}:
        fit: GlooFit | NcclFit = fit_gloo(name, tuned, load_gloo_fit())
    else:
        if cluster is None:
            raise InfeasibleError(
                "NCCL's logs need the cluster they were measured on", hint="--cluster dgx_h100, or a topology file"
            )
        fit = fit_nccl(name, tuned, cluster, nccl)
    fit = replace(fit, provenance=replace(fit.provenance, sources=_sources(tuned)))
    qualities = tuple(
        _quality(f"{log.collective}, {log.ranks} ranks", pairs, len(pairs), FITTED)
        for log in tuned
        if (pairs := log_pairs(fit, log, cluster, nccl))
    )
    return NamedFit("communication fit", {".yaml": communication_text(fit, COMMENT)}, qualities, notes)


def _sources(logs: Sequence[CollectiveLog]) -> tuple[str, ...]:
    """What was measured, without the folders of the machine it was fitted on."""
    return tuple(
        dict.fromkeys(
            ", ".join(part for part in (os.path.basename(log.source), log.device, log.version) if part) for log in logs
        )
    )


def log_pairs(
    fit: NcclFit | GlooFit, log: CollectiveLog, cluster: Cluster | None, nccl: str = ""
) -> list[tuple[float, float]]:
    """Return (measured, predicted) seconds of every size of ``log`` by ``fit``; none where it does not apply."""
    if log.collective not in KINDS or log.ranks < 2 or isinstance(fit, GlooFit) != (log.library == "gloo"):
        return []
    if isinstance(fit, GlooFit):
        steps = gloo_steps(KINDS[log.collective], log.ranks)
        per_byte = steps.sent / fit.connection_bytes_per_s + steps.summed / fit.reduce_bytes_per_s
        fixed = fit.overhead_s + steps.messages * fit.step_s
        return [(seconds, fixed + size * per_byte) for size, seconds in log.timed()]
    if cluster is None:
        return []
    rows = modelled_rows(log, communicator_of(log, cluster), log.version or nccl or DEFAULT_VERSION)
    return [(row.seconds, seconds_by(fit, row)) for row in rows]


def _quality(group: str, pairs: Sequence[tuple[float, float]], fitted: int, basis: str) -> Quality:
    logs = np.abs(np.log([predicted / measured for measured, predicted in pairs]))
    errors = np.abs([predicted / measured - 1.0 for measured, predicted in pairs])
    spread = float(1.4826 * np.median(logs))
    return Quality(group, fitted, len(pairs), float(np.median(errors)), float(errors.max()), spread, basis)


def _fit_kernels(name: str, files: Sequence[Readings], device_name: str) -> NamedFit:
    environment = files[0].environment
    kernels = kernel_samples(files)
    device, base = _device(name, environment, kernels, device_name)
    fit = fit_compute(kernels, device)
    programs = ", ".join(sorted({f"calibrate/{file.program}.py" for file in files}))
    source = f"{programs} on {environment.get('device')}, {len(kernels.samples)} readings"
    software = ", ".join(
        f"{label} {environment[key]}"
        for label, key in (("PyTorch", "torch"), ("CUDA", "cuda"), ("driver", "driver"))
        if environment.get(key)
    )
    date = max(file.date for file in files) or "unknown"
    mapping = profile_mapping(fit, kernels, source=source, software=software, date=date, base=base)
    texts = {".yaml": profile_text(mapping, COMMENT)}
    if device.arch == "cpu" and not device_name:
        texts[DEVICE_SUFFIX] = device_text(device)
    qualities = tuple(
        Quality(
            group=f"{found.family.value} {found.precision}".strip(),
            fitted=found.count,
            tested=len(found.errors),
            median=found.median_error,
            worst=max(map(abs, found.errors)),
            spread=found.spread,
            basis=HELD_OUT if found.is_held_out else FITTED,
        )
        for found in fit.families
    )
    notes = tuple(f"left out: {count} readings, {reason}" for reason, count in sorted(kernels.left_out.items()))
    return NamedFit("profile", texts, qualities, notes)


def _device(
    name: str, environment: Mapping[str, object], kernels: KernelSamples, device_name: str
) -> tuple[Device, Profile | None]:
    """The device, and the bundled profile that fills what was not measured."""
    if environment.get("device_type") == "cpu" and not device_name:
        stem = name + DEVICE_SUFFIX.removesuffix(".yaml")
        return cpu_device(stem, environment, kernels), None
    device = find_device(device_name or str(environment.get("device", "")))
    try:
        return device, default_profile(device.name)
    except UnknownNameError:
        return device, None


def kernel_pairs(profile: Profile, device: Device, files: Sequence[Readings]) -> dict[str, list[tuple[float, float]]]:
    """Return (measured, predicted) seconds of stable readings, by family and precision."""
    cost = RooflineCost(profile, device)
    found: dict[str, list[tuple[float, float]]] = {}
    for sample in kernel_samples(files).samples:
        if sample.precision not in device.peak_flops:
            continue
        try:
            predicted = cost.seconds(sample.operator, sample.precision)
        except InfeasibleError:
            continue
        group = f"{sample.operator.family.value} {sample.precision}"
        found.setdefault(group, []).append((sample.seconds, predicted))
    return found


def qualities_of(groups: Mapping[str, Sequence[tuple[float, float]]]) -> tuple[Quality, ...]:
    """Return how well each group of (measured, predicted) holds."""
    return tuple(_quality(group, pairs, 0, THESE) for group, pairs in groups.items())
