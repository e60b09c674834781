"""Documents changed by other documents: key by key, keeping the place of every value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simdml.documents.document import Document, KeyPath
from simdml.errors import Place


def merged(base: Document, changes: Document) -> Document:
    """Return ``base`` with the mappings of ``changes`` merged into it; anything else replaces."""
    replaced: list[KeyPath] = []
    data = _merged(base.data, changes.data, (), replaced)
    values, keys = dict(base.value_places), dict(base.key_places)
    for places, newer in ((values, changes.value_places), (keys, changes.key_places)):
        for path in [path for path in places if any(path[: len(gone)] == gone for gone in replaced)]:
            del places[path]
        places.update((path, place) for path, place in newer.items() if path)
    return Document(base.name, data, values, keys)


def excerpt(document: Document, path: KeyPath) -> Document:
    """Return the mapping at ``path`` of ``document`` as a document whose places stay those of the file."""
    data = document.data
    for step in path:
        data = data[step]
    depth = len(path)
    values = _below(document.value_places, path, depth)
    return Document(document.name, data, values, _below(document.key_places, path, depth))


def without(document: Document, key: str) -> Document:
    """Return ``document`` without its top-level ``key``."""
    data = {name: value for name, value in document.data.items() if name != key}
    values = {path: place for path, place in document.value_places.items() if path[:1] != (key,)}
    keys = {path: place for path, place in document.key_places.items() if path[:1] != (key,)}
    return Document(document.name, data, values, keys)


def expand_dotted(document: Document) -> Document:
    """Return ``document`` with top-level keys such as ``network.latency`` as mappings in mappings."""
    data: dict[str, Any] = {}
    for key, value in document.data.items():
        inner: Any = value
        for step in reversed(str(key).split(".")):
            inner = {step: inner}
        data = _merged(data, inner, (), [])
    values = {_expanded(path): place for path, place in document.value_places.items()}
    keys = {_expanded(path): place for path, place in document.key_places.items()}
    return Document(document.name, data, values, keys)


def _below(places: Mapping[KeyPath, Place], path: KeyPath, depth: int) -> dict[KeyPath, Place]:
    return {inner[depth:]: place for inner, place in places.items() if inner[:depth] == path}


def _expanded(path: KeyPath) -> KeyPath:
    return (*str(path[0]).split("."), *path[1:]) if path else path


def _merged(base: Any, own: Any, path: KeyPath, replaced: list[KeyPath]) -> Any:
    if not (isinstance(base, dict) and isinstance(own, dict)):
        replaced.append(path)
        return own
    result = dict(base)
    for key, value in own.items():
        inner = (*path, key)
        result[key] = _merged(base[key], value, inner, replaced) if key in base else value
    return result
