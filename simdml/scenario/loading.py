"""A scenario from a bundled name, a file or a Python mapping."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simdml.cluster.merging import expand_dotted, merged
from simdml.documents.document import Document, from_mapping
from simdml.documents.loading import load_document
from simdml.documents.overriding import override_each, parse_path
from simdml.documents.validation import validate
from simdml.resources import find
from simdml.scenario.schema.scenario import ScenarioSpec
from simdml.scenario.short_forms import written_out


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario as it was written: its ``document``, with places, and the same as checked ``spec``."""

    name: str
    document: Document
    spec: ScenarioSpec


def load_scenario(
    source: str | os.PathLike[str] | Mapping[str, Any],
    assignments: Iterable[str] = (),
    changes: Mapping[str, Any] | None = None,
) -> Scenario:
    """Return the scenario that ``source`` names or is.

    ``assignments`` are ``path=value`` as the command line's ``--set``; ``changes`` is a mapping merged over the
    scenario, whose keys may be dotted: ``{"training.batch_per_gpu": 64}``.

    Raises:
        UnknownNameError: no such bundled scenario; the nearest names are listed.
        DocumentError: a file, key or value that cannot be accepted, with its place.
        UsageError: an assignment that is not ``path=value``.
    """
    name, document = load_scenario_document(source)
    document = changed(document, assignments)
    if changes:
        wanted = expand_dotted(from_mapping(changes, "<changes>"))
        for section, value in wanted.data.items():
            if isinstance(value, dict):
                document = written_out(document, (section, *value))
        document = merged(document, wanted)
    return Scenario(name, document, validate(document, ScenarioSpec))


def changed(document: Document, assignments: Iterable[str]) -> Document:
    """Return ``document`` with each ``path=value`` applied; sections that are text are entered as mappings.

    Raises:
        UsageError: an assignment that is not ``path=value``.
        DocumentError: a value that cannot be read, or a path through a value that is not a mapping.
    """
    for assignment in assignments:
        path, equals, _ = assignment.partition("=")
        if equals:
            document = written_out(document, parse_path(path.strip()))
        document = override_each(document, [assignment])
    return document


def load_scenario_document(source: str | os.PathLike[str] | Mapping[str, Any]) -> tuple[str, Document]:
    """Return the name and the document of the scenario that ``source`` names or is, not yet checked.

    Raises:
        UnknownNameError: no such bundled scenario.
        DocumentError: a file that cannot be read.
    """
    if isinstance(source, Mapping):
        return "scenario", from_mapping(source, "<scenario>")
    path = find("scenarios", source)
    return Path(path).stem, load_document(path)
