"""``--set path=value``: one value of a document replaced from the command line."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from typing import Any

from simdml.documents.composing import compose
from simdml.documents.document import Document, KeyPath
from simdml.errors import DocumentError, Place, UsageError, dotted, quoted

_STEP = re.compile(r"\[([0-9]+)\]|\.?([^.\[\]]+)", re.ASCII)


def parse_path(text: str) -> KeyPath:
    """Return ``strategy.mesh.tp`` or ``nodes[3].gpu`` as steps; raises UsageError.

    A step of digits stays text here and is an index where it meets a list.
    """
    steps: list[str | int] = []
    position = 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None or (position == 0 and text.startswith(".")):
            break
        steps.append(int(match[1]) if match[1] else match[2])
        position = match.end()
    if not steps or position < len(text):
        raise UsageError(
            f"{quoted(text)} is not a path in a document", hint="for example strategy.mesh.tp, or nodes[3].gpu"
        )
    return tuple(steps)


def override_each(document: Document, assignments: Iterable[str]) -> Document:
    """Return ``document`` with each ``path=value`` applied in order; raises UsageError, DocumentError."""
    for assignment in assignments:
        path, equals, value = assignment.partition("=")
        if not equals:
            hint = "for example --set strategy.mesh.tp=8"
            raise UsageError(f"--set {quoted(assignment)} has no value", hint=hint)
        document = override(document, path.strip(), value)
    return document


def override(document: Document, path: str, value: str) -> Document:
    """Return a copy of ``document`` in which ``path`` has ``value``, read by the rules of the file.

    Missing mappings on the way are created; a list is indexed, never grown. The place becomes ``--set path``.

    Raises:
        UsageError: ``path`` cannot be read.
        DocumentError: ``value`` is not strict YAML, or ``path`` leads through a value that is not a mapping.
    """
    steps, source = parse_path(path), f"--set {path}"
    return assign(document, steps, parse_value(value, source, steps), source)


def assign(document: Document, steps: KeyPath, value: Document, source: str) -> Document:
    """Return a copy of ``document`` in which ``steps`` has the data of ``value``, which keeps its places.

    Missing mappings on the way are created; a list is indexed, never grown. ``source`` says who asked.

    Raises:
        DocumentError: ``steps`` lead through a value that is not a mapping.
    """
    data = copy.deepcopy(document.data)
    values, keys = dict(document.value_places), dict(document.key_places)
    parent, at = data, ()  # type: tuple[Any, KeyPath]
    for step in steps[:-1]:
        at = (*at, _step(parent, step, at, source))
        parent = _descend(parent, at, source, values, keys)
    target = (*at, _step(parent, steps[-1], at, source))
    parent[target[-1]] = copy.deepcopy(value.data)
    for places in (values, keys):
        for stale in [path for path in places if path[: len(target)] == target]:
            del places[stale]
    values.update({(*target, *path): place for path, place in value.value_places.items()})
    keys.update({(*target, *path): place for path, place in value.key_places.items()})
    keys[target] = value.place()
    return Document(document.name, data, values, keys)


def parse_value(value: str, source: str, at: KeyPath = ()) -> Document:
    """Return what ``value`` is by the rules of the file, given by ``source`` for ``at``; raises DocumentError."""
    try:
        data, values, keys = compose(value, source)
    except DocumentError as error:
        raise DocumentError(error.message, place=Place(source), hint=error.hint) from None
    return Document(source, data, _placed(values, source, at), _placed(keys, source, at))


def _placed(paths: Iterable[KeyPath], source: str, at: KeyPath) -> dict[KeyPath, Place]:
    return {path: Place(source, path=(*at, *path)) for path in paths}


def _step(parent: Any, step: str | int, at: KeyPath, source: str) -> str | int:
    if isinstance(parent, list):
        if not (isinstance(step, int) or step.isdecimal()):
            raise DocumentError(f"{dotted(at)} is a list: give an index, not {quoted(step)}", place=Place(source))
        index = int(step)
        if index >= len(parent):
            message = f"{dotted(at)} has {len(parent)} items, so there is no index {index} (they start from 0)"
            raise DocumentError(message, place=Place(source))
        return index
    if not isinstance(parent, dict):
        message = f"{dotted(at)} is {quoted(parent)}, not a mapping, so it has no {quoted(step)}"
        hint = f"set {dotted(at)} as a whole, for example --set '{dotted(at)}={{{step}: ...}}'"
        raise DocumentError(message, place=Place(source), hint=hint)
    return str(step)


def _descend(parent: Any, at: KeyPath, source: str, values: dict[KeyPath, Place], keys: dict[KeyPath, Place]) -> Any:
    step = at[-1]
    if isinstance(parent, dict) and parent.get(str(step)) is None:
        parent[step] = {}
        values[at] = keys[at] = Place(source, path=at)
    return parent[step]
