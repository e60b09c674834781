"""The file format of a device that is not in the table: a CPU, or a GPU that simdml does not know."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from simdml.cluster.device import Device
from simdml.documents.loading import load_document
from simdml.documents.quantities import (
    Bandwidth,
    Bytes,
    BytesOrZero,
    Count,
    CountOrZero,
    DocumentModel,
    FlopsRate,
    Power,
)
from simdml.documents.validation import validate
from simdml.units import format_bandwidth, format_bytes, format_flops, format_power

Precision = Literal["fp64", "fp32", "tf32", "fp16", "bf16", "fp8"]
Architecture = Literal["cpu", "kepler", "pascal", "volta", "turing", "ampere", "ada", "hopper", "blackwell"]


class DeviceSpec(DocumentModel):
    """A device."""

    arch: Architecture
    """Its architecture; "cpu" for a CPU."""
    compute_capability: CountOrZero = 0
    """80 stands for 8.0; 0 for a CPU."""
    peak: Annotated[dict[Precision, FlopsRate], Field(min_length=1)]
    """Dense FLOP/s by precision: what profiles' efficiencies are shares of."""
    memory: Bytes
    memory_bandwidth: Bandwidth
    multiprocessors: Count
    """Streaming multiprocessors of a GPU, computing threads of a CPU."""
    l2: BytesOrZero = 0.0
    """Second-level cache."""
    nvlinks: CountOrZero = 0
    nvlink: Bandwidth | None = None
    """Wire rate of one NVLink in one direction."""
    pcie: Literal[3, 4, 5, 6] = 4
    """Generation of its slot."""
    power: Power | None = None
    source: str
    """Where these numbers come from."""


class _DeviceFile(DocumentModel):
    device: DeviceSpec


def read_device(path: Path) -> Device:
    """Return the device in the file at ``path``, named after the file; raises DocumentError."""
    spec = validate(load_document(path), _DeviceFile).device
    return Device(
        name=path.stem,
        arch=spec.arch,
        compute_capability=spec.compute_capability,
        peak_flops=MappingProxyType({str(precision): rate for precision, rate in spec.peak.items()}),
        memory_bytes=spec.memory,
        memory_bandwidth_bytes_per_s=spec.memory_bandwidth,
        sms=spec.multiprocessors,
        l2_bytes=spec.l2,
        nvlink_links=spec.nvlinks,
        nvlink_link_bytes_per_s=spec.nvlink or 0.0,
        pcie_generation=spec.pcie,
        tdp_watts=spec.power or 0.0,
        source=spec.source,
    )


def device_text(device: Device) -> str:
    """Return the file of ``device``."""
    peaks = ", ".join(f"{name}: {format_flops(rate)}" for name, rate in device.peak_flops.items())
    lines = [
        f"arch: {device.arch}",
        f"compute_capability: {device.compute_capability}",
        f"peak: {{{peaks}}}",
        f"memory: {format_bytes(device.memory_bytes)}",
        f"memory_bandwidth: {format_bandwidth(device.memory_bandwidth_bytes_per_s)}",
        f"multiprocessors: {device.sms}",
    ]
    lines += [f"l2: {format_bytes(device.l2_bytes)}"] if device.l2_bytes else []
    if device.nvlink_links:
        lines += [f"nvlinks: {device.nvlink_links}", f"nvlink: {format_bandwidth(device.nvlink_link_bytes_per_s)}"]
    lines.append(f"pcie: {device.pcie_generation}")
    lines += [f"power: {format_power(device.tdp_watts)}"] if device.tdp_watts else []
    lines.append(f"source: {_quoted(device.source)}")
    return "device:\n" + "".join(f"  {line}\n" for line in lines)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
