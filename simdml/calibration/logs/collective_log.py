"""Measured collectives of one run, whatever program printed them."""

from __future__ import annotations

import math
from dataclasses import dataclass

UNSEEN = 0.0


@dataclass(frozen=True, slots=True)
class CollectiveRow:
    """One size: ``size_bytes`` as nccl-tests defines it (the whole buffer), seconds out of place and in place.

    A time that was not measured is 0. ``line`` is where the row was read.
    """

    size_bytes: int
    dtype: str
    out_of_place_s: float
    in_place_s: float = UNSEEN
    line: int = 0

    @property
    def seconds(self) -> float:
        """The faster of both ways; 0 where nothing was measured."""
        return min((time for time in (self.out_of_place_s, self.in_place_s) if time > 0.0), default=UNSEEN)


@dataclass(frozen=True, slots=True)
class CollectiveLog:
    """A run: what ran (``collective`` in NCCL's words, "all_reduce"), on how many ranks and nodes (0: not stated).

    ``library`` is "nccl", "rccl", "mpi" or "gloo", ``version`` its version where printed, ``device`` the GPU's name.
    """

    source: str
    library: str
    collective: str
    rows: tuple[CollectiveRow, ...]
    ranks: int = 0
    nodes: int = 0
    version: str = ""
    device: str = ""

    def timed(self) -> list[tuple[float, float]]:
        """(bytes, seconds) of the rows that moved something, in ascending size."""
        return sorted((float(row.size_bytes), row.seconds) for row in self.rows if row.size_bytes and row.seconds)


def bus_factor(collective: str, ranks: int) -> float:
    """Return bus over algorithm bandwidth (nccl-tests ``doc/PERFORMANCE.md``); 1 where ``ranks`` is not stated."""
    if ranks < 2:
        return 1.0
    if collective == "all_reduce":
        return 2.0 * (ranks - 1) / ranks
    if collective in ("all_gather", "reduce_scatter", "alltoall", "gather", "scatter"):
        return (ranks - 1) / ranks
    return 1.0


def ranks_of_factor(factor: float, steps: int) -> int:
    """Return the ranks for which ``steps * (n - 1) / n`` is nearest to ``factor``; 0 where none is near."""
    if not 0.45 * steps < factor < steps:
        return 0
    ranks = round(steps / (steps - factor))
    exact = steps * (ranks - 1) / ranks
    return ranks if math.isclose(exact, factor, rel_tol=2e-3) else 0
