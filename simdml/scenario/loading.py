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
from simdml.documents.overriding import override_each
from simdml.documents.validation import validate
from simdml.resources import find
from simdml.scenario.schema.scenario import ScenarioSpec


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
    document = override_each(document, assignments)
    if changes:
        document = merged(document, expand_dotted(from_mapping(changes, "<changes>")))
    return Scenario(name, document, validate(document, ScenarioSpec))


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
