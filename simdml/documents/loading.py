"""A YAML file into a document, with one level of ``extends``."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from simdml.documents.composing import compose
from simdml.documents.document import Document, KeyPath
from simdml.documents.reading import read_text
from simdml.errors import DocumentError, Place, quoted

EXTENDS = "extends"


def load_document(path: str | os.PathLike[str]) -> Document:
    """Return the document in the file at ``path``, merged over the file its ``extends`` key names.

    A base is found relative to the file. Mappings merge key by key, anything else replaces; every place stays in
    the file it came from. The key ``extends`` itself is dropped.

    Raises:
        DocumentError: the file or its base cannot be read, is empty, is not a mapping, is not strict YAML, or
            ``extends`` is not one level deep.
    """
    file = Path(path)
    document = _read(file)
    if EXTENDS not in document.data:
        return document
    return _merge(_base(document, file), document)


def parse_document(text: str, name: str = "<text>") -> Document:
    """Return the document in ``text``; ``name`` stands for the file. ``extends`` is left as it is.

    Raises:
        DocumentError: the text is empty, is not a mapping, or is not strict YAML.
    """
    data, values, keys = compose(text, name)
    if data is None:
        raise DocumentError("the file is empty", place=Place(name), hint="a mapping of keys is needed")
    if not isinstance(data, dict):
        kind = "a list" if isinstance(data, list) else quoted(data)
        hint = "the file must be a mapping: lines of 'key: value'"
        raise DocumentError(f"the file is {kind}, not a mapping", place=values[()], hint=hint)
    return Document(name, data, values, keys)


def _read(file: Path) -> Document:
    return _parsed(read_text(file), str(file))


@lru_cache(maxsize=64)
def _parsed(text: str, name: str) -> Document:
    """Return :func:`parse_document`; a sweep reads the same files again and again."""
    return parse_document(text, name)


def _base(document: Document, file: Path) -> Document:
    name = document.data[EXTENDS]
    place = document.place((EXTENDS,))
    if not isinstance(name, str) or not name:
        raise DocumentError("extends must name one file", place=place, hint="for example extends: base.yaml")
    target = file.parent / name
    if _same(target, file):
        raise DocumentError(f"cyclic extends: {_chain(file, file)}", place=place, hint="remove this key")
    try:
        base = _read(target)
    except DocumentError as error:
        if error.problems[0].place is not None:
            raise
        raise DocumentError(error.message, place=place, hint="extends is relative to its own file") from None
    if EXTENDS in base.data:
        _refuse_second_level(base, file, target, place)
    return base


def _refuse_second_level(base: Document, file: Path, target: Path, place: Place) -> None:
    further = target.parent / str(base.data[EXTENDS])
    chain = _chain(file, target, further)
    if _same(further, file) or _same(further, target):
        raise DocumentError(f"cyclic extends: {chain}", place=place, hint="remove one of the extends")
    hint = f"a base extends nothing: merge {further.name} into {target.name}"
    raise DocumentError(f"extends is two levels deep: {chain}", place=place, hint=hint)


def _same(first: Path, second: Path) -> bool:
    return first.resolve() == second.resolve()


def _chain(*files: Path) -> str:
    return " -> ".join(os.path.normpath(file) for file in files)


def _merge(base: Document, document: Document) -> Document:
    values, keys = dict(base.value_places), dict(base.key_places)
    own = {key: value for key, value in document.data.items() if key != EXTENDS}
    replaced: set[KeyPath] = set()
    data = _merged(base.data, own, (), replaced)
    for places, newer in ((values, document.value_places), (keys, document.key_places)):
        for path in [path for path in places if any(path[:end] in replaced for end in range(len(path) + 1))]:
            del places[path]
        places.update((path, place) for path, place in newer.items() if path[:1] != (EXTENDS,))
    return Document(document.name, data, values, keys)


def _merged(base: Any, own: Any, path: KeyPath, replaced: set[KeyPath]) -> Any:
    if not (isinstance(base, dict) and isinstance(own, dict)):
        replaced.add(path)
        return own
    merged = dict(base)
    for key, value in own.items():
        inner = (*path, key)
        merged[key] = _merged(base[key], value, inner, replaced) if key in base else value
    return merged
