"""What a scenario says, line by line, and what it leaves to others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simdml.documents.document import Document, KeyPath
from simdml.documents.overriding import parse_path
from simdml.documents.quantities import DocumentModel
from simdml.documents.schemas import SchemaTree
from simdml.documents.sentences import sentences
from simdml.errors import dotted
from simdml.scenario.building import Built
from simdml.scenario.choices import Choice
from simdml.scenario.json_schema import described_schema
from simdml.strategies.catalog import strategies
from simdml.strategies.job import Job
from simdml.strategies.schedules import find_schedule
from simdml.units import format_bytes, format_count

VARY = "vary"
CHOICES: Mapping[KeyPath, str] = {("plan", "clusters"): "cluster", ("plan", "strategies"): "strategy"}
"""What a plan may choose, and the section of the scenario that each choice stands for."""


@dataclass(frozen=True, slots=True)
class Line:
    """A value the scenario gives: where, what, and what it means."""

    where: str
    path: str
    value: str
    meaning: str


def explain_lines(built: Built) -> list[Line]:
    """Return every value of the scenario in its order, with its meaning."""
    document = built.scenario.document
    tree = SchemaTree(described_schema())
    return [
        Line(_where(document, path), dotted(path), shown(value), _meaning(built, tree, path, value))
        for path, value in _leaves(document.data, ())
    ]


def defaults(built: Built) -> list[Choice]:
    """Return what the scenario left open: what was worked out first, then the fixed defaults of the format."""
    worked_out = {choice.path for choice in built.choices}
    fixed = [choice for choice in _fixed(built.scenario.spec, ()) if choice.path not in worked_out]
    return [*built.choices, *fixed]


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    else:
        yield path, value


def _where(document: Document, path: KeyPath) -> str:
    place = document.place(path)
    if place.line is None:
        return place.file.split()[0]
    return str(place.line) if place.file == document.name else f"{Path(place.file).name}:{place.line}"


def shown(value: Any) -> str:
    """Return a value as a file would have it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return "" if value is None else str(value)


def _meaning(built: Built, tree: SchemaTree, path: KeyPath, value: Any) -> str:
    job = built.job
    if path in {("cluster",), ("cluster", "name")}:
        return job.cluster.description
    if path in {("model",), ("model", "name"), ("model", "config")}:
        model = job.build(job.training.microbatch)
        return f"{format_count(model.parameter_count)} parameters in {len(model.blocks)} blocks"
    if path == ("strategy", "pipeline", "schedule"):
        return find_schedule(job.pipeline.schedule).meaning
    if path in {("strategy",), ("strategy", "data_parallel", "kind")}:
        return strategies()[str(value)].meaning
    return _described(tree, _chosen(_varied(path) if path[0] == VARY else path))


def _described(tree: SchemaTree, path: KeyPath) -> str:
    """Return what the schema says of a value; of one under a key of the user's own, what it says of the mapping."""
    position, of_mapping = tree.root, None
    for step in path:
        free = isinstance(step, str) and step not in tree.keys(position)
        of_mapping = (of_mapping or tree.description(position)) if free else None
        position = tree.inside(position, step)
    return tree.description(position) or of_mapping or ""


def _chosen(path: KeyPath) -> KeyPath:
    """Return the path of the scenario that a value of what a plan may choose is for."""
    if len(path) > 3 and path[:2] in CHOICES:
        return (CHOICES[path[0], path[1]], *path[3:])
    return path


def _varied(path: KeyPath) -> KeyPath:
    """Return the path of the scenario that a value below ``vary`` is for."""
    key = next(step for step in path[1:] if isinstance(step, str) and step not in {"zipped", "list"})
    inside = path[path.index(key) + 1 :]
    numbered = "list" not in path and inside and isinstance(inside[0], int)
    return (*parse_path(key), *(inside[1:] if numbered else inside))


def _fixed(section: DocumentModel, path: KeyPath) -> Iterator[Choice]:
    written = section.model_dump(mode="json")
    described = sentences(type(section))
    for name in type(section).model_fields:
        value = getattr(section, name)
        here = (*path, name)
        if isinstance(value, DocumentModel):
            yield from _fixed(value, here)
        elif name not in section.model_fields_set and value not in (None, "", {}):
            yield Choice(dotted(here), shown(written[name]), " ".join(described.get(name, "").split()))


def _samples(job: Job) -> str:
    if not job.microbatches:
        return f"{job.training.microbatch:,}"
    return " or ".join(f"{samples:,}" for samples in sorted(set(job.microbatches)))


def describe_job(built: Built) -> list[tuple[str, str]]:
    """Return the job in a few facts, as (what, value)."""
    job, training = built.job, built.job.training
    degrees = " x ".join(f"{axis} {size}" for axis, size in job.mesh.axes)
    unit = job.build(training.microbatch).sample_unit
    rows = [
        ("GPUs", f"{job.mesh.num_ranks:,} of {job.cluster.num_gpus:,} ({', '.join(built.inputs['devices'])})"),
        ("mesh", degrees),
        ("global batch", f"{job.global_batch:,} {unit} a step"),
        ("micro-batches", f"{training.num_microbatches:,} of {_samples(job)} {unit} on each replica"),
    ]
    if job.mesh.size("pp") > 1:
        pipeline = job.pipeline
        chunks = f", {pipeline.chunks} chunks a stage" if pipeline.chunks > 1 else ""
        name = find_schedule(pipeline.schedule).name
        rows.append(("pipeline", f"{name}, {job.mesh.size('pp')} stages{chunks}"))
    if job.input is not None:
        ahead = f"{job.input.prefetch:,} batches ahead" if job.input.prefetch else "loaded while nothing is trained"
        through = ", ".join((*job.input.stages, "copy"))
        rows.append(("input", f"{through}; {ahead}, {format_bytes(job.input.stored_bytes)} each"))
    if job.parameter_server is not None:
        servers = job.parameter_server
        rows.append(("servers", f"{len(servers.nodes)}, {servers.consistency}, tensors {servers.placement}"))
    rows.append(("profile", ", ".join(built.inputs["profiles"])))
    rows.append(("communication", ", ".join(built.inputs["communication"])))
    return rows
