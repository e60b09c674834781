"""The ``faults`` section into the conditions of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from simdml.cluster.cluster import Cluster
from simdml.engine.conditions import Conditions
from simdml.errors import DocumentError, Place
from simdml.scenario.clusters import num_gpus
from simdml.scenario.loading import Scenario

FAULTS = "faults"
_NAMED = re.compile(r"(?:node (?P<node>\d+))?(?: ?(?P<kind>gpu|nic) (?P<index>\d+))?")


def build_conditions(scenario: Scenario, cluster: Cluster) -> Conditions:
    """Return what the scenario's faults do to ``cluster``; factors of one GPU or NIC multiply.

    Raises:
        DocumentError: a GPU, node or NIC that the cluster does not have, or jitter said twice.
    """
    slowed = _Slowed({}, {})
    cv = _apply(scenario, cluster, slowed) if scenario.spec.faults else 0.0
    capacity = cluster.links.capacity_bytes_per_s
    left = {link: float(capacity[link]) / factor for link, factor in slowed.links.items()}
    return Conditions(slowed.gpus, left, cv, scenario.spec.simulate.seed)


def _apply(scenario: Scenario, cluster: Cluster, slowed: _Slowed) -> float:
    """Slow what is slow, and return the coefficient of variation of jitter."""
    from simdml.scenario.schema.faults import JitterSpec, SkewSpec
    from simdml.scenario.skew import skew_factor
    from simdml.scenario.stragglers import SHARE, Stragglers

    cv = 0.0
    for index, fault in enumerate(scenario.spec.faults):
        if isinstance(fault, JitterSpec):
            if cv:
                place = scenario.document.place((FAULTS, index))
                raise DocumentError("jitter is given twice", place=place, hint="keep one of the two")
            cv = fault.cv
            continue
        if isinstance(fault, SkewSpec):
            gpus = num_gpus(scenario, cluster)
            slowed.slow(range(gpus), skew_factor(fault.skew, gpus))
            continue
        place = scenario.document.place((FAULTS, index, "slow"))
        stragglers = Stragglers(fault, scenario.spec.simulate.seed, index)
        if SHARE.fullmatch(fault.slow.strip()):
            slow = slowed.slow_links if stragglers.about_links else slowed.slow
            for chosen in stragglers.chosen(cluster, num_gpus(scenario, cluster), place):
                slow(chosen, stragglers.factor())
        else:
            _slow(fault.slow, stragglers.factor(), cluster, place, slowed)
    return cv


@dataclass(frozen=True, slots=True)
class _Slowed:
    """By how much GPUs and links are slower."""

    gpus: dict[int, float]
    links: dict[int, float]

    def slow(self, gpus: Iterable[int], factor: float) -> None:
        for gpu in gpus:
            self.gpus[gpu] = self.gpus.get(gpu, 1.0) * factor

    def slow_links(self, links: Iterable[int], factor: float) -> None:
        for link in links:
            self.links[link] = self.links.get(link, 1.0) * factor


def _slow(name: str, factor: float, cluster: Cluster, place: Place | None, slowed: _Slowed) -> None:
    named = _NAMED.fullmatch(name.strip())
    if named is None or not name.strip():
        raise DocumentError(
            f"{name!r} names no GPU, node or NIC",
            place=place,
            hint='write "gpu 17", "node 3", "node 3 gpu 5", "node 3 nic 2", "2 % of gpus", "of nodes" or "of nics"',
        )
    node = None if named["node"] is None else _below(int(named["node"]), cluster.num_nodes, "node", place)
    if named["kind"] != "nic":
        slowed.slow(_gpus(cluster, node, named["index"], place), factor)
        return
    if node is None:
        raise DocumentError("a NIC needs its node", place=place, hint=f'write "node 0 nic {named["index"]}"')
    nic = _below(int(named["index"]), len(cluster.template(node).nics), f"NIC on node {node}", place)
    slowed.slow_links(cluster.nic_links(node, nic), factor)


def _gpus(cluster: Cluster, node: int | None, index: str | None, place: Place | None) -> list[int]:
    if node is None:
        return [_below(int(index or 0), cluster.num_gpus, "GPU", place)]
    here = cluster.gpus_of(node)
    if index is not None:
        return [here[_below(int(index), len(here), f"GPU on node {node}", place)]]
    if not here:
        raise DocumentError(f"node {node} has no GPU that could be slow", place=place)
    return list(here)


def _below(number: int, count: int, what: str, place: Place | None) -> int:
    if number >= count:
        hint = f"they are numbered from 0 to {count - 1}" if count else None
        raise DocumentError(f"there is no {what} {number}: there are {count}", place=place, hint=hint)
    return number
