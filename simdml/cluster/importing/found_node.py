"""What a machine said about itself, whichever program it said it with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FoundGpu:
    """A GPU: ``type`` a name of :mod:`simdml.cluster.device` or empty; ``switch`` its PCIe switch, None if unknown."""

    type: str
    socket: int
    switch: str | None = None


@dataclass(frozen=True, slots=True)
class FoundNic:
    """A NIC port: ``rate_bps`` its line rate in bit/s, 0 where not said; ``switch`` None on a socket or if unknown."""

    name: str
    socket: int
    switch: str | None = None
    rate_bps: float = 0.0


@dataclass(frozen=True, slots=True)
class FoundNode:
    """A node: ``nvlinks[a, b]`` (a < b) counts NVLinks between two GPUs, or through ``nvswitch`` all of one GPU.

    ``sockets`` counts NUMA domains. ``gpu_slot`` and ``nic_slot`` are PCIe links ("gen4 x16") or empty. ``notes``
    say what could not be read or kept.
    """

    gpus: tuple[FoundGpu, ...]
    nics: tuple[FoundNic, ...]
    sockets: int
    nvlinks: Mapping[tuple[int, int], int] = field(default_factory=dict)
    nvswitch: bool = False
    cpu: str = ""
    gpu_slot: str = ""
    nic_slot: str = ""
    notes: tuple[str, ...] = ()
