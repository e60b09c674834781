"""Directed links as a struct of arrays; what a link is called is worked out when asked.

Every physical link is two directed ones with neighbouring ids, so the other direction of link ``i`` is ``i ^ 1``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Link:
    """One direction of a link from ``source`` to ``destination``; both are vertex names ("gpu0", "leaf3").

    ``capacity_bytes_per_s`` is the achievable payload rate.
    """

    source: str
    destination: str
    kind: str
    capacity_bytes_per_s: float
    latency_s: float


def both_ways(source: str, destination: str, kind: str, capacity_bytes_per_s: float, latency_s: float) -> list[Link]:
    """Return the two directions of a physical link."""
    return [
        Link(source, destination, kind, capacity_bytes_per_s, latency_s),
        Link(destination, source, kind, capacity_bytes_per_s, latency_s),
    ]


class LinkBlock(Protocol):
    """A run of links with consecutive ids, numbered from 0 inside the block."""

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return capacities (bytes/s) and latencies (s)."""
        ...

    def kind(self, link: int) -> str:
        """Return the kind of ``link``."""
        ...

    def ends(self, link: int) -> tuple[str, str]:
        """Return the vertices that ``link`` leaves and enters."""
        ...


class LinkTable:
    """All links of a cluster.

    ``capacity_bytes_per_s`` (achievable payload) and ``latency_s`` are arrays over link ids. ``kind`` is one of
    "nvlink", "c2c", "pcie", "socket", "host_memory", "nic", "leaf" (leaf to spine), "spine" (spine to core), or
    what an explicit graph says.
    """

    def __init__(self, blocks: Sequence[LinkBlock]) -> None:
        arrays = [block.arrays() for block in blocks]
        self._blocks = tuple(blocks)
        self._firsts = [0]
        for capacities, _ in arrays[:-1]:
            self._firsts.append(self._firsts[-1] + len(capacities))
        self.capacity_bytes_per_s = _joined([capacities for capacities, _ in arrays])
        self.latency_s = _joined([latencies for _, latencies in arrays])

    @property
    def blocks(self) -> tuple[LinkBlock, ...]:
        """The runs of links it is made of."""
        return self._blocks

    @property
    def num_links(self) -> int:
        """How many directed links there are."""
        return len(self.capacity_bytes_per_s)

    def kind(self, link: int) -> str:
        """Return what ``link`` is: "nvlink", "pcie", "nic", ..."""
        block, local = self._find(link)
        return block.kind(local)

    def ends(self, link: int) -> tuple[str, str]:
        """Return the vertices that ``link`` leaves and enters, such as ("node3.gpu0", "node3.nvswitch")."""
        block, local = self._find(link)
        return block.ends(local)

    def name(self, link: int) -> str:
        """Return ``link`` as "node3.gpu0 > node3.nvswitch"."""
        return " > ".join(self.ends(link))

    def kinds(self) -> list[str]:
        """Return the kind of every link, for tables of small clusters."""
        return [self.kind(link) for link in range(self.num_links)]

    def _find(self, link: int) -> tuple[LinkBlock, int]:
        if not 0 <= link < self.num_links:
            raise IndexError(f"there is no link {link}: the cluster has {self.num_links}")
        index = bisect_right(self._firsts, link) - 1
        return self._blocks[index], link - self._firsts[index]


def _joined(arrays: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    joined = np.concatenate(arrays) if arrays else np.zeros(0)
    joined.flags.writeable = False
    return joined
