"""The file format of spreads: strict YAML in which every number says where it came from."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from pydantic import Field

from simdml.calibration.cost_groups import CostGroup
from simdml.calibration.profile import Mark, Provenance
from simdml.calibration.spreads import Spread, Spreads
from simdml.documents.document import Document
from simdml.documents.loading import load_document
from simdml.documents.quantities import DocumentModel
from simdml.documents.validation import validate
from simdml.errors import DocumentError


class _Number(DocumentModel):
    value: Annotated[float, Field(ge=0.0)]
    mark: Mark
    source: str


class SpreadsFile(DocumentModel):
    """Spreads as written in a file."""

    date: str
    sources: dict[str, str]
    tail: _Number
    step: _Number
    carried_over: _Number
    doubling: _Number
    groups: dict[CostGroup, _Number]


def read_spreads(path: Path) -> Spreads:
    """Return the spreads in the file at ``path``, named after it; raises DocumentError."""
    document = load_document(path)
    content = validate(document, SpreadsFile)
    missing = [group for group in CostGroup if group not in content.groups]
    if missing:
        raise DocumentError(
            f"groups lacks {', '.join(missing)}", place=document.key_place(("groups",)), hint="every group needs one"
        )
    return Spreads(
        name=path.stem,
        groups=MappingProxyType(
            {group: _spread(content, document, ("groups", group), number) for group, number in content.groups.items()}
        ),
        **{
            name: _spread(content, document, (name,), getattr(content, name))
            for name in ("step", "carried_over", "doubling", "tail")
        },
    )


def _spread(content: SpreadsFile, document: Document, path: tuple[str, ...], number: _Number) -> Spread:
    if number.source not in content.sources:
        raise DocumentError(
            f"{'.'.join(path)}: no source is called {number.source!r}",
            place=document.place(path),
            hint=f"sources of this file: {', '.join(content.sources)}",
        )
    return Spread(number.value, Provenance(number.mark, content.sources[number.source]))
