"""Better and worse hardware: a job on its cluster with something in it changed. ``factor`` 2 is twice as good."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from simdml.cluster.loading import load_cluster
from simdml.cluster.scaling import with_nvlink_scaled
from simdml.documents.document import Document, KeyPath, from_mapping
from simdml.documents.overriding import assign
from simdml.scenario.building import Built, build
from simdml.scenario.clusters import cluster_document
from simdml.units import parse_bandwidth

Change = tuple[KeyPath, Any]
NEWEST_PCIE, NARROWEST_PCIE = 6, 1


def faster_nvlink(built: Built, factor: float) -> Built | None:
    """Change the rate of NVLinks."""
    cluster = with_nvlink_scaled(built.job.cluster, factor)
    return None if cluster is None else build(built.scenario, cluster)


def faster_nics(built: Built, factor: float) -> Built | None:
    """Change the line rate of all NICs; switches keep their ratio to them."""
    return _rebuilt(built, partial(_nics, factor=factor)) if built.job.cluster.num_nodes > 1 else None


def faster_pcie(built: Built, factor: float) -> Built | None:
    """Change PCIe to the next generation, or to half the lanes."""
    return _rebuilt(built, partial(_pcie, built=built, better=factor > 1))


def shorter_latency(built: Built, factor: float) -> Built | None:
    """Change the latency between nodes, switches included."""
    transport = built.job.cluster.transport
    if transport is None or not transport.latency_s or built.job.cluster.num_nodes == 1:
        return None
    changes: list[Change] = [
        (("network", "latency"), f"{transport.latency_s / factor!r} s"),
        (("network", "hop_latency"), f"{transport.hop_latency_s / factor!r} s"),
    ]
    return _rebuilt(built, lambda _: iter(changes))


def less_oversubscribed(built: Built, factor: float) -> Built | None:
    """Change how much more the nodes below switches can send than the switches pass on, where that is more."""
    return _rebuilt(built, partial(_oversubscription, factor=factor))


def faster_edges(kind: str) -> Callable[[Built, float], Built | None]:
    """Return what changes the rate of the edges of one kind of an explicit graph."""
    return lambda built, factor: _rebuilt(built, partial(_edges, kind=kind, factor=factor))


def _rebuilt(built: Built, changes: Callable[[Document], Iterator[Change]]) -> Built | None:
    document = cluster_document(built.scenario)
    changed = document
    for path, value in changes(document):
        changed = assign(changed, path, _value(value), "sensitivity")
    return None if changed is document else build(built.scenario, load_cluster(changed))


def _value(value: Any) -> Document:
    return from_mapping({"value": value}).part(("value",))


def _nics(document: Document, factor: float) -> Iterator[Change]:
    for path in _node_paths(document):
        if (rate := _get(document, (*path, "nics", "rate"))) is not None:
            yield (*path, "nics", "rate"), f"{parse_bandwidth(rate) * factor!r} B/s"


def _node_paths(document: Document) -> Iterator[KeyPath]:
    yield ("node",)
    for index in range(len(document.data.get("groups") or ())):
        yield ("groups", index, "node")
    yield ("servers",)


def _pcie(document: Document, built: Built, better: bool) -> Iterator[Change]:
    if _get(document, ("node", "gpus")) is None:
        return
    slot = built.job.cluster.template(0).pcie
    for path, generation, width in (
        (("node", "gpus", "pcie"), slot.generation, slot.width),
        *_slots(document, ("node", "gpus", "uplink"), ("node", "nics", "pcie")),
    ):
        if better and generation < NEWEST_PCIE:
            yield path, f"gen{generation + 1} x{width}"
        elif not better and width > NARROWEST_PCIE:
            yield path, f"gen{generation} x{width // 2}"


def _slots(document: Document, *paths: KeyPath) -> Iterator[tuple[KeyPath, int, int]]:
    for path in paths:
        if isinstance(text := _get(document, path), str):
            generation, width = text.split()
            yield path, int(generation.removeprefix("gen")), int(width.removeprefix("x"))


def _oversubscription(document: Document, factor: float) -> Iterator[Change]:
    for key in ("oversubscription", "core_oversubscription"):
        ratio = _get(document, ("network", key))
        if ratio is not None and ratio > 1:
            yield ("network", key), max(1.0, ratio / factor)


def _edges(document: Document, kind: str, factor: float) -> Iterator[Change]:
    for index, edge in enumerate(_get(document, ("graph", "edges")) or ()):
        if edge.get("kind", "link") == kind:
            yield ("graph", "edges", index, "rate"), f"{parse_bandwidth(edge['rate']) * factor!r} B/s"


def _get(document: Document, path: KeyPath) -> Any:
    value: Any = document.data
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int):
            value = value[step]
        else:
            return None
    return value
