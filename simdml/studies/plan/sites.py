"""The clusters that a plan may choose: every one of them with every number of nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from simdml.documents.document import Document, KeyPath, from_mapping
from simdml.documents.overriding import assign
from simdml.errors import DocumentError, InfeasibleError, quoted
from simdml.scenario.clusters import CLUSTER
from simdml.scenario.loading import Scenario
from simdml.scenario.places import located
from simdml.scenario.schema.plan import PlanSpec
from simdml.scenario.short_forms import written_out
from simdml.studies.plan.goals import PLAN, asking
from simdml.studies.plan.site import Site, make_site
from simdml.studies.sweep.ranges import read_range

MOST_SITES: Final = 1000
"""Clusters of one plan at most: every one of them has thousands of layouts."""


def sites_of(scenario: Scenario, spec: PlanSpec) -> list[Site]:
    """Return the sites of a plan.

    Raises:
        SimdmlError: a cluster that cannot be built, too many of them, a price that is missing.
    """
    document = asking(scenario, spec)
    nodes = _nodes(scenario, spec)
    clusters = range(1) if spec.clusters is None else range(len(spec.clusters))
    count = len(clusters) * len(nodes)
    if count > MOST_SITES:
        raise InfeasibleError(
            f"{count:,} clusters to choose from, and {MOST_SITES:,} are the most",
            place=scenario.document.place((PLAN, "nodes")),
            hint="fewer numbers of nodes: 16 .. 256 doubles from one to the next, 16 .. 64 step 16 counts",
        )
    priced = document.data.get("cost") is not None
    powered = document.data.get("energy") is not None
    sites: list[Site] = []
    for index in clusters:
        for number in nodes:
            label, placed = _placed(document, spec, index, number)
            with located(scenario.document, PLAN, "clusters", index):
                site = make_site(len(sites), label, scenario.name, placed, priced=priced, powered=powered)
            sites.append(site)
    return _told_apart(sites)


def _told_apart(sites: list[Site]) -> list[Site]:
    """Return sites of which those of one name are called by what is different in them, too."""
    count = Counter(site.label for site in sites)
    return [
        site if count[site.label] == 1 else replace(site, label=f"{site.label}, {_differences(site, sites)}")
        for site in sites
    ]


def _differences(site: Site, sites: list[Site]) -> str:
    mine = dict(_leaves(site.document.data[CLUSTER], ()))
    others = [dict(_leaves(each.document.data[CLUSTER], ())) for each in sites if each.label == site.label]
    own = {path: value for path, value in mine.items() if any(other.get(path) != value for other in others)}
    words = [f"{' '.join(map(str, path[-2:]))} {value}" for path, value in own.items()]
    return ", ".join(words) or "as it is"


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    else:
        yield path, str(value)


def _placed(document: Document, spec: PlanSpec, index: int, nodes: int | None) -> tuple[str, Document]:
    """Return how a cluster is called, and the scenario on it."""
    if spec.clusters is not None:
        document = assign(document, (CLUSTER,), document.part((PLAN, "clusters", index)), PLAN)
    if nodes is not None:
        steps = (CLUSTER, "nodes")
        document = assign(written_out(document, steps), steps, from_mapping({"": nodes}).part(("",)), PLAN)
    value = document.data[CLUSTER]
    named = value if isinstance(value, str) else value.get("name", f"cluster {index + 1}")
    name = str(named).rsplit("/", 1)[-1].removesuffix(".yaml")
    count = None if isinstance(value, str) else value.get("nodes")
    return (f"{count:,} x {name}" if isinstance(count, int) else name), document


def _nodes(scenario: Scenario, spec: PlanSpec) -> list[int | None]:
    if spec.nodes is None:
        return [None]
    if isinstance(spec.nodes, int):
        return [spec.nodes]
    if isinstance(spec.nodes, tuple):
        return list(spec.nodes)
    with located(scenario.document, PLAN, "nodes"):
        return list(_range(spec.nodes))


def _range(text: str) -> Iterator[int]:
    """Yield the numbers of ``16 .. 256``, doubling, or of a range with a step."""
    if "step" in text:
        found = read_range(text)
        if found is None:
            raise DocumentError(f"{quoted(text)} is not a range of nodes", hint="16 .. 256, or 16 .. 64 step 16")
        if found.count > MOST_SITES:
            raise InfeasibleError(
                f"{found.count:,} numbers of nodes to choose from, and {MOST_SITES:,} are the most",
                hint="a larger step, or 16 .. 256, which doubles from one to the next",
            )
        yield from (_whole(value) for value in found.values())
        return
    begin, dots, end = text.partition("..")
    if not dots:
        raise DocumentError(f"{quoted(text)} is not a range of nodes", hint="16 .. 256, or 16 .. 64 step 16")
    first, last = _whole(begin.strip()), _whole(end.strip())
    if not 0 < first <= last:
        raise DocumentError(f"the range {quoted(text)} is empty", hint="write the smaller number first")
    number = first
    while number < last:
        yield number
        number *= 2
    yield last


def _whole(value: Any) -> int:
    text = str(value)
    if not text.isdecimal() or not int(text):
        raise DocumentError(f"{quoted(text)} is not a number of nodes", hint="16 .. 256, or 16 .. 64 step 16")
    return int(text)
