"""Algorithms and protocols that a scenario forces by name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from simdml.cluster.cluster import Cluster
from simdml.costs.collectives.by_name import Forcing, Rule
from simdml.costs.collectives.nccl_forced import ALGORITHMS, PROTOCOLS
from simdml.costs.collectives.steps import STEP_ALGORITHMS
from simdml.documents.document import KeyPath
from simdml.errors import InfeasibleError, UnknownNameError, listed
from simdml.program.instructions import CollectiveKind
from simdml.scenario.loading import Scenario
from simdml.scenario.places import located, written
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
            place = next((rule.place for rule in rules if Forcing((rule,)).sums_in_switches), None)
            raise InfeasibleError(
                f"the switches between the nodes of {cluster.name} do not sum",
                place=place or scenario.document.place(written(scenario.document, path)),
                hint="network: {sharp: true} in the cluster, if it has SHARP; otherwise Ring, Tree or NVLSTree",
            )
    return forcing


def _rules(scenario: Scenario, asked: CommunicationSpec) -> Iterator[Rule]:
    for index, each in enumerate(asked.force):
        kind = None if each.kind is None else CollectiveKind(each.kind)
        yield _rule(scenario, each.algorithm, each.protocol, (COMMUNICATION, "force", index), kind, each.group or "")
    if asked.algorithm is not None or asked.protocol is not None:
        yield _rule(scenario, asked.algorithm, asked.protocol, (COMMUNICATION,))


def _rule(
    scenario: Scenario,
    algorithm: str | None,
    protocol: str | None,
    path: KeyPath,
    kind: CollectiveKind | None = None,
    group: str = "",
) -> Rule:
    document = scenario.document
    alone = algorithm is not None and algorithm.strip() in STEP_ALGORITHMS
    known = (*ALGORITHMS, *STEP_ALGORITHMS)
    with located(document, *path, "algorithm"):
        names = (str(algorithm).strip(),) if alone else _names("collective algorithm", algorithm, ALGORITHMS, known)
    with located(document, *path, "protocol"):
        protocols = _names("protocol of NCCL", protocol, PROTOCOLS, PROTOCOLS)
    place = document.place(written(document, (*path, "protocol" if algorithm is None else "algorithm")))
    return Rule(names, protocols, kind, group, place)


def _names(what: str, text: str | None, some: Collection[str], known: Iterable[str]) -> tuple[str, ...]:
    """Return the names in ``text`` as NCCL_ALGO and NCCL_PROTO have them: some, or after ^ those that are left.

    Raises:
        UnknownNameError: one that is not ``known``, or that does not go with others.
        InfeasibleError: none is left.
    """
    if text is None:
        return ()
    asked = [name.strip() for name in text.strip().removeprefix("^").split(",")]
    for name in asked:
        if name not in some:
            raise UnknownNameError(what, name, known)
    chosen = tuple(name for name in some if (name in asked) is not text.strip().startswith("^"))
    if not chosen:
        raise InfeasibleError(f"{text} leaves none", hint=f"there are {listed(some)}")
    return chosen


def _check(rule: Rule) -> None:
    if rule.kind is not None and rule.kind not in rule.kinds:
        what = " or ".join(rule.algorithms) or f"a choice of protocol ({' or '.join(rule.protocols)})"
        raise InfeasibleError(
            f"there is no {rule.kind} by {what}", place=rule.place, hint=f"it is for {listed(map(str, rule.kinds))}"
        )
    if rule.by_steps is not None and rule.protocols not in ((), ("Simple",)):
        raise InfeasibleError(
            f"{rule.by_steps.name} is made of sends, which are Simple", place=rule.place, hint="leave protocol out"
        )
