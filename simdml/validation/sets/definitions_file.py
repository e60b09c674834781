"""The file of published sets: strict YAML with a target for every set and a reason for every miss that has one."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from pydantic import Field

from simdml.documents.document import Document
from simdml.documents.loading import load_document
from simdml.documents.quantities import DocumentModel
from simdml.documents.validation import validate
from simdml.errors import DocumentError
from simdml.validation.sets.definitions import (
    Definitions,
    Fitted,
    Measure,
    PublishedSet,
    PublishedTable,
    Reason,
    Target,
)


class _Target(DocumentModel):
    measure: Measure
    at_least: float | None = None
    at_most: float | None = None


class _Reason(DocumentModel):
    groups: str = ""
    because: str


class _Fitted(DocumentModel):
    groups: Annotated[str, Field(min_length=1)]
    what: str


class _Set(DocumentModel):
    name: str
    table: str | None = None
    where: dict[str, str] = Field(default_factory=dict)
    least: dict[str, float] = Field(default_factory=dict)
    below: dict[str, float] = Field(default_factory=dict)
    targets: Annotated[list[_Target], Field(min_length=1)]
    reasons: list[_Reason] = Field(default_factory=list)
    fitted: list[_Fitted] = Field(default_factory=list)


class _Table(DocumentModel):
    source: str
    groups: Annotated[list[str], Field(min_length=1)]


class DefinitionsFile(DocumentModel):
    """Tables and sets as written in a file."""

    tables: dict[str, _Table]
    sets: dict[str, _Set]


def read_definitions(path: Path) -> Definitions:
    """Return the sets in the file at ``path``; raises DocumentError."""
    document = load_document(path)
    content = validate(document, DefinitionsFile)
    tables = {name: PublishedTable(name, each.source, tuple(each.groups)) for name, each in content.tables.items()}
    sets = tuple(_set(key, each, document, tables) for key, each in content.sets.items())
    return Definitions(MappingProxyType(tables), sets)


def _set(key: str, each: _Set, document: Document, tables: dict[str, PublishedTable]) -> PublishedSet:
    if each.table is not None and each.table not in tables:
        raise DocumentError(
            f"sets.{key}: no table is called {each.table!r}",
            place=document.place(("sets", key, "table")),
            hint=f"tables of this file: {', '.join(tables)}",
        )
    return PublishedSet(
        key,
        each.name,
        each.table,
        MappingProxyType(each.where),
        MappingProxyType(each.least),
        MappingProxyType(each.below),
        tuple(map(_target, each.targets)),
        tuple(Reason(reason.groups, " ".join(reason.because.split())) for reason in each.reasons),
        tuple(Fitted(fitted.groups, " ".join(fitted.what.split())) for fitted in each.fitted),
    )


def _target(each: _Target) -> Target:
    return Target(
        each.measure,
        float("-inf") if each.at_least is None else each.at_least,
        float("inf") if each.at_most is None else each.at_most,
    )
