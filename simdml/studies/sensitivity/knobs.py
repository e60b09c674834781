"""The table of what is turned: everything that a job's time can depend on, and how it is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simdml.scenario.building import Built
from simdml.studies.sensitivity import feeding, hardware, software

BETTER, WORSE = 2.0, 0.5


@dataclass(frozen=True, slots=True)
class Knob:
    """Something that can be twice or half as good.

    ``turn`` returns the job with it ``factor`` times as good, or None if the job has nothing of it; ``better`` and
    ``worse`` say what twice and half as good means, ``bound`` what a job is bound by that waits for it.
    """

    key: str
    name: str
    better: str
    worse: str
    bound: str
    turn: Callable[[Built, float], Built | None]


def _rate(key: str, name: str, turn: Callable[[Built, float], Built | None]) -> Knob:
    return Knob(key, name, f"{name} at twice the rate", f"{name} at half the rate", name, turn)


def _time(key: str, name: str, bound: str, turn: Callable[[Built, float], Built | None]) -> Knob:
    return Knob(key, name, f"half the {name}", f"twice the {name}", bound, turn)


_EDGES = ("nvlink", "c2c", "pcie", "socket", "host_memory", "nic", "leaf", "spine", "link")
KNOBS: tuple[Knob, ...] = (
    Knob(
        "arithmetic",
        "matrix products",
        "matrix products, convolutions and attention in half the time",
        "in twice the time",
        "arithmetic",
        software.faster_kernels(software.ARITHMETIC),
    ),
    Knob(
        "streaming",
        "memory-bound kernels",
        "memory-bound kernels in half the time",
        "in twice the time",
        "device memory",
        software.faster_kernels(software.STREAMING),
    ),
    _time("launch", "time to launch a kernel", "the host that launches kernels", software.shorter_launches),
    _rate("nvlink", "NVLink", hardware.faster_nvlink),
    Knob(
        "pcie",
        "PCIe",
        "the next generation of PCIe",
        "half the PCIe lanes",
        "PCIe",
        hardware.faster_pcie,
    ),
    _rate("nics", "NICs", hardware.faster_nics),
    _time("latency", "latency between nodes", "the latency between nodes", hardware.shorter_latency),
    Knob(
        "oversubscription",
        "oversubscription",
        "half the oversubscription",
        "twice the oversubscription",
        "oversubscribed switches",
        hardware.less_oversubscribed,
    ),
    _rate("storage", "storage of training data", feeding.faster_storage),
    _rate("decoding", "decoding of training data", feeding.faster_decoding),
    *(_rate(f"{kind} edges", f"{kind} edges", hardware.faster_edges(kind)) for kind in _EDGES),
    _time("collectives", "fixed cost of a collective", "fixed costs of collectives", software.shorter_collectives),
    Knob(
        "servers",
        "parameter servers",
        "twice the servers",
        "half the servers",
        "the number of servers",
        software.more_servers,
    ),
    _rate("server_rate", "summing and updating on servers", software.faster_servers),
    _rate("connections", "connections to servers", software.faster_connections),
    _time("messages", "fixed cost of a push or pull", "fixed costs of messages", software.shorter_messages),
)
BY_KEY = {knob.key: knob for knob in KNOBS}
