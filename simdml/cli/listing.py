"""``simdml list``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import click
from rich.console import RenderableType

from simdml.calibration.failure_rates import RECORDS
from simdml.calibration.profile import available_profiles, load_profile
from simdml.cli.console import show, table
from simdml.cluster.device import DEVICES
from simdml.costs.collectives.nccl_forced import ALGORITHMS, KINDS, MEANINGS
from simdml.costs.collectives.steps import STEP_ALGORITHMS
from simdml.documents.loading import load_document
from simdml.documents.reading import read_text
from simdml.resources import available, find
from simdml.strategies.catalog import strategies
from simdml.strategies.schedules import SCHEDULES
from simdml.units import format_bandwidth, format_bytes, format_count, format_flops
from simdml.workload.catalog import available_models, find_model

Rows = Iterator[tuple[str, ...]]


def _models() -> Rows:
    for name in available_models():
        spec = find_model(name)
        model = spec.build(samples=1)
        sequence = f"{spec.default_sequence:,} tokens" if spec.default_sequence else ""
        yield name, format_count(model.parameter_count), str(len(model.blocks)), spec.sample_unit, sequence


def _gpus() -> Rows:
    for device in DEVICES.values():
        peak = max((device.peak_flops[p], p) for p in ("fp32", "fp16", "bf16") if p in device.peak_flops)
        yield (
            device.name,
            device.arch,
            f"{format_flops(peak[0])} {peak[1]}",
            format_bytes(device.memory_bytes),
            format_bandwidth(device.memory_bandwidth_bytes_per_s),
            device.source,
        )


def _clusters() -> Rows:
    for name in available("topologies"):
        yield name, str(load_document(find("topologies", name)).data.get("description", ""))


def _profiles() -> Rows:
    for name in available_profiles():
        profile = load_profile(name)
        yield name, ", ".join(profile.devices), "yes" if profile.default else "", profile.software, profile.date


def _communications() -> Rows:
    for name in available("calibrate"):
        if name.startswith("communication/"):
            fit = load_document(find("calibrate", name)).data["fit"]
            provenance = fit["provenance"]
            yield name.removeprefix("communication/"), fit["library"], str(provenance["rows"]), provenance["sources"][0]


def _collectives() -> Rows:
    for name, algorithm in ALGORITHMS.items():
        yield name, "NCCL", ", ".join(KINDS[algorithm]), MEANINGS[name]
    for each in STEP_ALGORITHMS.values():
        yield each.name, "", ", ".join(each.kinds), each.meaning


def _scenarios() -> Rows:
    for name in available("scenarios"):
        yield name, _about(name)


def _failures() -> Rows:
    for name, record in RECORDS.items():
        yield name, record.meaning, record.source


def _schedules() -> Rows:
    for name, schedule in SCHEDULES.items():
        yield name, schedule.meaning


def _strategies() -> Rows:
    for name, strategy in strategies().items():
        yield name, strategy.system, strategy.meaning


def _about(scenario: str) -> str:
    """Return the first sentence of the comment a scenario begins with."""
    lines = read_text(find("scenarios", scenario)).splitlines()
    comments = [line[1:].strip() for line in lines if line.startswith("#")]
    text = " ".join(line for line in comments if not line.startswith("yaml-language-server"))
    return text.partition(". ")[0].removesuffix(".")


@dataclass(frozen=True, slots=True)
class _Listing:
    columns: tuple[str, ...]
    rows: Callable[[], Rows]


LISTINGS: Mapping[str, _Listing] = {
    "models": _Listing(("model", "parameters", "blocks", "samples", "sequence"), _models),
    "gpus": _Listing(("GPU", "architecture", "peak", "memory", "bandwidth", "source"), _gpus),
    "clusters": _Listing(("cluster", "what it is"), _clusters),
    "profiles": _Listing(("profile", "devices", "default", "software", "date"), _profiles),
    "communications": _Listing(("communication", "library", "rows", "measured by"), _communications),
    "failures": _Listing(("failures", "what was counted", "source"), _failures),
    "collectives": _Listing(("algorithm", "library", "for", "how"), _collectives),
    "schedules": _Listing(("schedule", "what a stage does"), _schedules),
    "strategies": _Listing(("strategy", "system", "what it is"), _strategies),
    "scenarios": _Listing(("scenario", "what it is"), _scenarios),
}


@click.command("list")
@click.argument("kind", type=click.Choice(list(LISTINGS)), required=False)
def command(kind: str | None) -> None:
    """List what simdml knows of one KIND, or the names of everything."""
    show(_whole(kind) if kind is not None else table(("", ""), _names()))


def _whole(kind: str) -> RenderableType:
    listing = LISTINGS[kind]
    return table(listing.columns, listing.rows())


def _names() -> Iterator[tuple[str, str]]:
    names: Mapping[str, tuple[str, ...]] = {
        "models": available_models(),
        "gpus": tuple(DEVICES),
        "clusters": available("topologies"),
        "profiles": available_profiles(),
        "communications": tuple(row[0] for row in _communications()),
        "failures": tuple(RECORDS),
        "collectives": (*ALGORITHMS, *STEP_ALGORITHMS),
        "schedules": tuple(SCHEDULES),
        "strategies": tuple(strategies()),
        "scenarios": available("scenarios"),
    }
    for kind, known in names.items():
        yield kind, ", ".join(known)
