"""Bytes on links, summed over the ways that a transfer's parts take."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simdml.cluster.cluster import Cluster
from simdml.cluster.endpoint import gpu
from simdml.cluster.relocation import Relocation, equal_rows, relocation_of

OWN, PORT_OUT, PORT_IN = -1, -2, -3
"""In place of the NICs of a way: those a GPU has by itself; the links out of and into a GPU alone."""
MANY: Final = 192
"""From so many ways on, those that are alike are found and worked out once; below, that takes longer."""

Way = tuple[int, int, int, int]
"""From a GPU to a GPU, out of a node by a NIC and in by one."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """``weights[i]`` bytes on ``links[i]`` per payload byte; ``limit_bytes_per_s`` the payload rate that fills one."""

    links: tuple[int, ...]
    weights: tuple[float, ...]
    limit_bytes_per_s: float


class Load:
    """Bytes per payload byte on the links of ``cluster``, put there way by way."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._ways: list[Way] = []
        self._weights: list[float] = []

    def path(self, source: int, target: int, weight: float, leave: int = OWN, enter: int | None = None) -> None:
        """Put ``weight`` on the way from a GPU to another, between nodes by NIC ``leave`` and in by ``enter``.

        Without ``enter`` both are the same; without either GPUs take their own.
        """
        self._ways.append((source, target, leave, leave if enter is None else enter))
        self._weights.append(weight)

    def port(self, gpu: int, sent: float, received: float) -> None:
        """Put ``sent`` on the links out of a GPU and ``received`` on those into it."""
        self._ways += ((gpu, gpu, PORT_OUT, PORT_OUT), (gpu, gpu, PORT_IN, PORT_IN))
        self._weights += (sent, received)

    def traffic(self) -> Traffic:
        """Return the sums; those of links on which there is nothing are left out."""
        relocation = relocation_of(self.cluster) if len(self._ways) >= MANY else None
        return self.one_by_one() if relocation is None else self.in_bulk(relocation)

    def one_by_one(self) -> Traffic:
        """Return the traffic, every way worked out by itself."""
        total: dict[int, float] = {}
        for way, weight in zip(self._ways, self._weights, strict=True):
            for link in self._links(way):
                total[link] = total.get(link, 0.0) + weight
        used = sorted((link, weight) for link, weight in total.items() if weight > 0.0)
        links, weights = zip(*used, strict=True) if used else ((), ())
        return self._traffic(links, weights)

    def in_bulk(self, relocation: Relocation) -> Traffic:
        """Return the traffic, ways between alike places worked out once; sums are made in the same order."""
        ways = np.array(self._ways, dtype=np.int64)
        nodes, places = relocation.locate(ways[:, :2])
        sets, first_rows = equal_rows(np.concatenate([places, ways[:, 2:], relocation.likeness(nodes)], axis=1))
        members = np.split(np.argsort(sets, kind="stable"), np.cumsum(np.bincount(sets))[:-1])
        links, rows = [], []
        for first, alike in zip(first_rows, members, strict=True):
            there = relocation.relative(self._links(self._ways[first]), nodes[first].tolist()).of(nodes[alike])
            links.append(there.ravel())
            rows.append(alike.repeat(there.shape[1]))
        row = np.concatenate(rows)
        order = np.argsort(row, kind="stable")
        used, number = np.unique(np.concatenate(links)[order], return_inverse=True)
        total = np.bincount(number, weights=np.array(self._weights)[row[order]])
        loaded: NDArray[np.bool_] = total > 0.0
        return self._traffic(tuple(used[loaded].tolist()), tuple(total[loaded].tolist()))

    def _links(self, way: Way) -> tuple[int, ...]:
        source, target, leave, enter = way
        if leave in (PORT_OUT, PORT_IN):
            return (self.cluster.gpu_port_links(source)[0 if leave == PORT_OUT else 1],)
        if leave != enter:
            return self.cluster.router.links_by(gpu(source), gpu(target), leave, enter)
        return self.cluster.router.links_between(gpu(source), gpu(target), None if leave == OWN else leave)

    def _traffic(self, links: tuple[int, ...], weights: tuple[float, ...]) -> Traffic:
        capacity = self.cluster.links.capacity_bytes_per_s[np.array(links, dtype=np.int64)]
        limit = float((capacity / np.array(weights)).min(initial=inf))
        return Traffic(links, weights, limit)
