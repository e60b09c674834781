"""Where transfers begin and end: a GPU, or the memory of a node's CPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """``index`` is a global GPU id for kind ``"gpu"`` and a node id for kind ``"host"``."""

    kind: Literal["gpu", "host"]
    index: int

    def __str__(self) -> str:
        """Return "gpu 3" or "host 1"."""
        return f"{self.kind} {self.index}"


def gpu(index: int) -> Endpoint:
    """Return the endpoint of GPU ``index`` (global id)."""
    return Endpoint("gpu", index)


def host(node: int) -> Endpoint:
    """Return the endpoint of the CPU memory of ``node``."""
    return Endpoint("host", node)
