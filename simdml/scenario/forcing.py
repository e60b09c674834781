"""Algorithms and protocols that a scenario forces by name."""

from __future__ import annotations

from collections.abc import Iterator

from simdml.cluster.cluster import Cluster
from simdml.costs.collectives.by_name import Forcing, Rule
from simdml.costs.collectives.steps import STEP_ALGORITHMS
from simdml.documents.document import KeyPath
from simdml.errors import InfeasibleError, listed
from simdml.program.instructions import CollectiveKind
from simdml.scenario.loading import Scenario
from simdml.scenario.places import written
from simdml.scenario.schema.costs import CommunicationSpec

COMMUNICATION = "communication"


def build_forcing(scenario: Scenario, asked: CommunicationSpec, cluster: Cluster) -> Forcing:
    """Return the rules of the scenario, those of ``force`` before the one of the whole job.

    Raises:
        InfeasibleError: an algorithm that does not do the kind, or has no such protocol; one of NCCL under gloo; sums
            in switches that cannot.
    """
    rules = tuple(_rules(scenario, asked))
    for rule in rules:
        _check(rule)
    forcing = Forcing(rules)
    if asked.library != "nccl" and rules:
        raise InfeasibleError(
            f"{asked.library} does not take its algorithms by name", place=rules[0].place, hint="library: nccl"
        )
    if asked.collnet or forcing.sums_in_switches:
        path: KeyPath = (COMMUNICATION, "collnet")
        switches = cluster.transport is not None and cluster.transport.sharp and cluster.num_nodes > 1
        if not switches:
            place = next((rule.place for rule in rules if rule.algorithm.startswith("CollNet")), None)
            raise InfeasibleError(
                f"the switches between the nodes of {cluster.name} do not sum",
                place=place or scenario.document.place(written(scenario.document, path)),
                hint="network: {sharp: true} in the cluster, if it has SHARP; otherwise Ring, Tree or NVLSTree",
            )
    return forcing


def _rules(scenario: Scenario, asked: CommunicationSpec) -> Iterator[Rule]:
    for index, each in enumerate(asked.force):
        place = scenario.document.place((COMMUNICATION, "force", index))
        kind = None if each.kind is None else CollectiveKind(each.kind)
        yield Rule(each.algorithm or "", each.protocol or "", kind, each.group or "", place)
    if asked.algorithm is not None or asked.protocol is not None:
        key = "protocol" if asked.algorithm is None else "algorithm"
        place = scenario.document.place((COMMUNICATION, key))
        yield Rule(asked.algorithm or "", asked.protocol or "", place=place)


def _check(rule: Rule) -> None:
    if rule.kind is not None and rule.kind not in rule.kinds:
        what = rule.algorithm or f"a choice of protocol ({rule.protocol})"
        raise InfeasibleError(
            f"there is no {rule.kind} by {what}", place=rule.place, hint=f"it is for {listed(map(str, rule.kinds))}"
        )
    if rule.algorithm in STEP_ALGORITHMS and rule.protocol not in ("", "Simple"):
        raise InfeasibleError(
            f"{rule.algorithm} is made of sends, which are Simple", place=rule.place, hint="leave protocol out"
        )
