"""A document: plain data, and the place of every key and value."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from simdml.errors import DocumentError, Place

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """Data (mappings with text keys, lists, scalars) read from ``name``, with the places of values and keys.

    Treat ``data`` as read-only; :func:`simdml.documents.overriding.override` returns a changed copy.
    """

    name: str
    data: Any
    value_places: Mapping[KeyPath, Place] = field(repr=False)
    key_places: Mapping[KeyPath, Place] = field(repr=False)

    def place(self, path: KeyPath = ()) -> Place:
        """Return the place of the value at ``path``, or of the nearest enclosing key where it is absent."""
        if path in self.value_places:
            return self.value_places[path]
        return self.key_place(path)

    def key_place(self, path: KeyPath) -> Place:
        """Return the place of the key at ``path``; of an enclosing key, or the document, where it is absent."""
        for length in range(len(path), -1, -1):
            enclosing = path[:length]
            place = self.key_places.get(enclosing) or self.value_places.get(enclosing)
            if place is not None:
                return replace(place, path=path)
        return Place(self.name, path=path)

    def part(self, path: KeyPath) -> Document:
        """Return the value at ``path`` as a document, whose places stay those of the file."""
        data = self.data
        for step in path:
            data = data[step]
        values: dict[KeyPath, Place] = {}
        keys: dict[KeyPath, Place] = {}
        for inner in _paths(data, ()):
            for own, places in ((values, self.value_places), (keys, self.key_places)):
                if (place := places.get((*path, *inner))) is not None:
                    own[inner] = place
        return Document(self.name, data, values, keys)

    def folder(self, path: KeyPath = ()) -> Path:
        """Return the folder that a relative file name at ``path`` starts from: that of its file, or the current."""
        place = self.place(path)
        return Path() if place.line is None else Path(place.file).parent


def _paths(data: Any, path: KeyPath) -> Iterator[KeyPath]:
    yield path
    entries: Iterable[tuple[str | int, Any]] = ()
    if isinstance(data, dict):
        entries = data.items()
    elif isinstance(data, list):
        entries = enumerate(data)
    for step, inner in entries:
        yield from _paths(inner, (*path, step))


def from_mapping(data: Mapping[str, Any], name: str = "<python>") -> Document:
    """Return a document of a Python mapping, for use without a file.

    Raises:
        DocumentError: a value is not a mapping, list, text, finite number, boolean or None.
    """
    values: dict[KeyPath, Place] = {}
    keys: dict[KeyPath, Place] = {}
    return Document(name, _plain(data, (), name, values, keys), values, keys)


def in_folder(document: Document, folder: Path) -> Document:
    """Return ``document`` as if it stood in a file of ``folder``, from which relative names in it start."""
    file = str(folder / document.name)
    values = {path: Place(file, 1, 1, path) for path in document.value_places}
    keys = {path: Place(file, 1, 1, path) for path in document.key_places}
    return Document(document.name, document.data, values, keys)


def _plain(value: Any, path: KeyPath, name: str, values: dict[KeyPath, Place], keys: dict[KeyPath, Place]) -> Any:
    values[path] = place = Place(name, path=path)
    if isinstance(value, Mapping):
        plain: dict[str, Any] = {}
        for key, inner in value.items():
            inner_path = (*path, str(key))
            keys[inner_path] = Place(name, path=inner_path)
            plain[str(key)] = _plain(inner, inner_path, name, values, keys)
        return plain
    if isinstance(value, list | tuple):
        return [_plain(item, (*path, index), name, values, keys) for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise DocumentError(f"{value} is not a finite number", place=place)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise DocumentError(
        f"a {type(value).__name__} cannot stand in a document",
        place=place,
        hint="use mappings, lists, text, numbers, booleans and None",
    )
