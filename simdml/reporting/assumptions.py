"""What a prediction rests on: costs and hardware with where their numbers come from, and what was left open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from simdml.calibration.communication import Provenance as FitProvenance
from simdml.calibration.profile import Mark, Profile
from simdml.cluster.cluster import Cluster
from simdml.cluster.transport import SOURCE as TRANSPORT_SOURCE
from simdml.costs.collectives.gloo import GlooCost
from simdml.costs.collectives.nccl import NcclCost
from simdml.costs.compute import PRECISIONS, RooflineCost
from simdml.reporting.report import Points, Section, Table, Topic, Words
from simdml.scenario.building import Built
from simdml.scenario.explaining import defaults, shown
from simdml.units import format_bytes

MEASURED, VENDOR, GUESS = "measured", "vendor", "guess"
MARKS: Final[Mapping[Mark, str]] = {Mark.MEASURED: MEASURED, Mark.VENDOR: VENDOR, Mark.DERIVED: GUESS}
LEGEND: Final = (
    "measured: fitted to measurements of the source. vendor: printed by the maker. guess: carried over from something "
    "measured by a rule, or estimated; nobody measured it."
)
_BORROWS: Final = {"bf16": "fp16", "tf32": "fp16", "fp8": "fp16"}

Row = tuple[str, str, str, str]


def assumption_sections(built: Built) -> Iterator[Section]:
    """Yield what a job rests on, with sources, and what these do not claim."""
    rows = (*_hardware(built.job.cluster), *_compute(built), *_collectives(built), *_servers(built))
    yield Section(
        Topic.ASSUMPTIONS,
        "Assumptions and their sources",
        (
            Words((LEGEND,)),
            Table("Where the numbers come from", ("what", "mark", "numbers", "source"), tuple(rows), text_columns=4),
            Table(
                "What the scenario left open",
                ("key", "taken", "whose default"),
                tuple((choice.path, shown(choice.value), choice.reason) for choice in defaults(built)),
                text_columns=3,
            ),
        ),
    )
    yield Section(Topic.LIMITS, "What the numbers do not claim", (Points(tuple(_limits(built))),))


def _profiles(built: Built) -> list[Profile]:
    found = {cost.profile.name: cost.profile for cost in built.costs.compute.values() if isinstance(cost, RooflineCost)}
    return list(found.values())


def _hardware(cluster: Cluster) -> Iterator[Row]:
    devices = {device.name: device for device in cluster.devices(cluster.num_gpus)}
    for device in devices.values():
        yield f"{device.name}: peak rates, memory, NVLink", VENDOR, "", device.source
    if cluster.transport is not None and cluster.network is not None:
        yield f"{cluster.transport.name}: payload share and latency", MEASURED, "", TRANSPORT_SOURCE


def _compute(built: Built) -> Iterator[Row]:
    """Yield a row for every source and mark in the profiles used, of coefficients in the job's precision."""
    training = built.job.training
    beside = {"fp8": ("fp8",)}.get(training.precision, ("fp32",) if training.autocast else ())
    wanted = {_BORROWS.get(training.precision, training.precision), *beside}
    for profile in _profiles(built):
        counted: dict[tuple[str, str], list[str]] = {}
        for path, provenance in profile.provenance.items():
            family, *inner = path.split(".")
            precision = next((step for step in inner if step in PRECISIONS), None)
            if precision is None or precision in wanted:
                counted.setdefault((MARKS[provenance.mark], provenance.source), []).append(family.replace("_", " "))
        for (mark, source), families in counted.items():
            yield f"{profile.name}: {', '.join(dict.fromkeys(families))}", mark, f"{len(families)}", source


def _fits(built: Built) -> Iterator[tuple[str, FitProvenance]]:
    cost = built.costs.collectives
    if built.job.mesh.num_ranks == 1:
        return
    if isinstance(cost, GlooCost):
        yield cost.fit.name, cost.fit.provenance
    elif isinstance(cost, NcclCost):
        fits = {fit.name: fit.provenance for fit in (cost.fit.node, cost.fit.network)}
        yield from fits.items()


def _collectives(built: Built) -> Iterator[Row]:
    for name, provenance in _fits(built):
        spread = f"{100 * provenance.large_log_spread:.0f} % from {format_bytes(2.0**20)} on"
        rows = f"{provenance.rows} rows, up to {provenance.max_ranks} ranks; scatter {spread}"
        yield f"collectives: {name}", MEASURED, f"{provenance.rows}", f"{rows}: {'; '.join(provenance.sources)}"


def _servers(built: Built) -> Iterator[Row]:
    if built.job.parameter_server is not None:
        yield "servers: rate of summing, fixed costs of messages", GUESS, "", "defaults, or as the scenario says"


def _limits(built: Built) -> Iterable[str]:
    for profile in _profiles(built):
        yield from (f"{profile.name}: {text}" for text in profile.does_not_claim)
    for name, provenance in _fits(built):
        if provenance.does_not_claim:
            yield f"{name}: {provenance.does_not_claim}"
