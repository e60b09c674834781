"""Stragglers by chance: which GPUs or nodes of a job are slow, and how slow, drawn from the seed of the run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import log, sqrt
from typing import TYPE_CHECKING, Final

import numpy as np

from simdml.cluster.cluster import Cluster
from simdml.errors import DocumentError, Place

if TYPE_CHECKING:
    from simdml.scenario.schema.faults import SlowSpec

SHARE: Final = re.compile(r"(?P<percent>\d+(?:\.\d+)?) ?% of (?P<what>gpus|nodes|nics)")
_STREAM: Final = 0x57A6
"""Tells the draws of stragglers from those of jitter, which start from the same seed."""


class Stragglers:
    """The draws of one entry of ``faults``, the ``number``-th; the same for the same seed."""

    def __init__(self, fault: SlowSpec, seed: int, number: int) -> None:
        self._fault = fault
        self._draws = np.random.default_rng((seed, _STREAM, number))

    def factor(self) -> float:
        """Return how many times longer kernels take: as given, or 1 and an excess of the distribution.

        A lognormal excess of mean m and coefficient of variation c has sigma^2 = ln(1 + c^2) and mu = ln m - sigma^2/2.
        """
        fault = self._fault
        if isinstance(fault.by, float):
            return fault.by
        assert fault.mean is not None
        excess = fault.mean - 1
        if fault.by == "exponential":
            return 1 + float(self._draws.exponential(excess))
        assert fault.cv is not None
        sigma = sqrt(log(1 + fault.cv * fault.cv))
        return 1 + float(self._draws.lognormal(log(excess) - sigma * sigma / 2, sigma))

    @property
    def about_links(self) -> bool:
        """Whether the share is of NICs."""
        found = SHARE.fullmatch(self._fault.slow.strip())
        return found is not None and found["what"] == "nics"

    def chosen(self, cluster: Cluster, gpus: int, place: Place | None) -> list[list[int]]:
        """Return as many of the job's GPUs, nodes or NICs as the share says, rounded to a whole number.

        They are lists of GPUs, of NICs lists of links.

        Raises:
            DocumentError: a share that is nothing, or more than all.
        """
        found = SHARE.fullmatch(self._fault.slow.strip())
        assert found is not None
        units = _UNITS[found["what"]](cluster, gpus)
        count = round(float(found["percent"]) / 100 * len(units))
        if not 0 < count <= len(units):
            least = 100 / max(len(units), 1)
            raise DocumentError(
                f"{self._fault.slow} are {count} of the {len(units)} {found['what']} of the job",
                place=place,
                hint=f"one of them is {least:.4g} %",
            )
        drawn = sorted(self._draws.choice(len(units), size=count, replace=False).tolist())
        return [units[number] for number in drawn]


def _by_gpu(cluster: Cluster, gpus: int) -> list[list[int]]:
    del cluster
    return [[gpu] for gpu in range(gpus)]


def _by_node(cluster: Cluster, gpus: int) -> list[list[int]]:
    nodes: dict[int, list[int]] = {}
    for gpu in range(gpus):
        nodes.setdefault(cluster.node_of(gpu), []).append(gpu)
    return list(nodes.values())


def _by_nic(cluster: Cluster, gpus: int) -> list[list[int]]:
    nodes = dict.fromkeys(cluster.node_of(gpu) for gpu in range(gpus))
    return [list(cluster.nic_links(node, nic)) for node in nodes for nic in range(len(cluster.template(node).nics))]


_UNITS: Final[Mapping[str, Callable[[Cluster, int], list[list[int]]]]] = {
    "gpus": _by_gpu,
    "nodes": _by_node,
    "nics": _by_nic,
}
