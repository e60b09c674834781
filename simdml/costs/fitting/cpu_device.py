"""A device out of its own readings, where no table has it: a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from simdml.cluster.device import Device
from simdml.costs.fitting.samples import KernelSamples
from simdml.errors import InfeasibleError
from simdml.workload.operators import Family

_STREAMS = (Family.ELEMENTWISE, Family.COPY, Family.OPTIMIZER, Family.NORMALIZATION, Family.SOFTMAX)
_PCIE_GENERATION = 4
_UNKNOWN_MEMORY = 8 * 2.0**30
LARGE_BYTES = 32e6
"""Traffic that no cache holds."""


def cpu_device(name: str, environment: Mapping[str, Any], kernels: KernelSamples) -> Device:
    """Return a device whose peaks are the fastest readings: matrix products, and streams of 32 MB and more.

    Efficiencies are then shares of the best this machine was seen to do. The environment has ``cpu``, ``threads`` and
    ``memory_bytes``.

    Raises:
        InfeasibleError: no stable matrix products, or no stable memory-bound kernels.
    """
    peaks: dict[str, float] = {}
    bandwidths = []
    for sample in kernels.samples:
        operator = sample.operator
        if operator.family in (Family.MATMUL, Family.BATCHED_MATMUL):
            peaks[sample.precision] = max(peaks.get(sample.precision, 0.0), operator.flops / sample.seconds)
        elif operator.family in _STREAMS:
            bandwidths.append((operator.bytes >= LARGE_BYTES, operator.bytes / sample.seconds))
    if not peaks or not bandwidths:
        raise InfeasibleError(
            "the readings have too few stable kernels to say how fast this machine is",
            hint="run calibrate/compute.py again on an idle machine, for matrix products and memory-bound kernels",
        )
    large = [rate for is_large, rate in bandwidths if is_large] or [rate for _, rate in bandwidths]
    threads = int(environment.get("threads") or environment.get("cpu_count") or 1)
    cpu = environment.get("cpu") or environment.get("device") or "CPU"
    return Device(
        name=name,
        arch="cpu",
        compute_capability=0,
        peak_flops=MappingProxyType(peaks),
        memory_bytes=float(environment.get("memory_bytes") or _UNKNOWN_MEMORY),
        memory_bandwidth_bytes_per_s=max(large),
        sms=threads,
        l2_bytes=0.0,
        nvlink_links=0,
        nvlink_link_bytes_per_s=0.0,
        pcie_generation=_PCIE_GENERATION,
        tdp_watts=0.0,
        source=f"fastest stable readings of calibrate/compute.py on {cpu}, {threads} threads",
    )
