"""A document into a pydantic model, or one DocumentError that lists what is wrong and where.

Values are checked by pydantic's strict mode for JSON: text is never taken for a number, nor true for 1, while a
whole number does for a float, a list for a tuple, and text for an enumeration. Where a union fits nothing, only
the branch that fits best is reported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeVar

import pydantic_core
from pydantic import BaseModel, ValidationError

from simdml.documents.document import Document, KeyPath
from simdml.documents.schemas import Schema, SchemaTree
from simdml.errors import DocumentError, Problem, SimdmlError, did_you_mean, listed, quoted

Model = TypeVar("Model", bound=BaseModel)

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "nothing",
}
_CHOICES = ("literal_error", "enum")
_QUOTED = re.compile(r"'([^']*)'")
_KEY_MARK = "[key]"


@dataclass(frozen=True, slots=True)
class _Fault:
    """One of pydantic's errors: ``path`` in the document, and the union branches (depth, name) on the way."""

    error: Any
    path: KeyPath
    branches: tuple[tuple[int, str], ...]
    position: list[Schema]
    parent: list[Schema]

    @property
    def kind(self) -> str:
        return str(self.error["type"])

    def misfit(self, depth: int) -> int:
        """How strongly this speaks against the branch that a union at ``depth`` tried."""
        if len(self.path) == depth and (self.kind in _EXPECTED or self.kind in _CHOICES):
            return 1000
        if self.kind in _CHOICES and len(self.path) == depth + 1:
            return 50
        return 3 if self.kind in ("extra_forbidden", "missing") else 2


def validate(document: Document, model: type[Model]) -> Model:
    """Return ``document`` as ``model``.

    Raises:
        DocumentError: every problem found, each with its place, what was expected and the nearest match.
    """
    try:
        return model.model_validate_json(pydantic_core.to_json(document.data), strict=True)
    except ValidationError as error:
        problems = _problems(document, error, SchemaTree(model.model_json_schema()))
    first = problems[0]
    message = first.message if len(problems) == 1 else f"{document.name}: {len(problems)} problems"
    raise DocumentError(message, place=first.place, hint=first.hint, problems=problems)


def _problems(document: Document, error: ValidationError, schema: SchemaTree) -> list[Problem]:
    faults = [_locate(entry, document.data, schema) for entry in error.errors(include_url=False)]
    problems = [_problem(group, document, schema) for group in _best(faults, 0)]
    unique = dict.fromkeys(problems)
    return sorted(unique, key=lambda problem: _reading_order(problem, document.name))


def _reading_order(problem: Problem, name: str) -> tuple[bool, int, int]:
    place = problem.place
    if place is None or place.line is None or place.column is None:
        return (False, 0, 0)
    return (place.file != name, place.line, place.column)


def _locate(error: Any, data: Any, schema: SchemaTree) -> _Fault:
    path: KeyPath = ()
    branches: list[tuple[int, str]] = []
    position = parent = schema.root
    for step in (location := [step for step in error["loc"] if step != _KEY_MARK]):
        is_key = isinstance(data, dict) and step in data
        is_index = isinstance(data, list) and isinstance(step, int) and step < len(data)
        is_absent = error["type"] == "missing" and step is location[-1]
        if step in schema.tags(position) or not (is_key or is_index or is_absent):
            branches.append((len(path), str(step)))
            position = schema.branch(position, str(step))
            continue
        path = (*path, step)
        data = None if is_absent else data[step]
        parent, position = position, schema.inside(position, step)
    return _Fault(error, path, tuple(branches), position, parent)


def _best(faults: list[_Fault], level: int) -> list[list[_Fault]]:
    """Return groups of faults to report as one problem each, keeping the best branch of every union."""
    kept = [[fault] for fault in faults if len(fault.branches) <= level]
    unions: dict[KeyPath, dict[str, list[_Fault]]] = {}
    for fault in faults:
        if len(fault.branches) > level:
            depth, name = fault.branches[level]
            unions.setdefault(fault.path[:depth], {}).setdefault(name, []).append(fault)
    for path, tried in unions.items():
        kept += _best_branch(list(tried.values()), len(path), level)
    return kept


def _best_branch(branches: list[list[_Fault]], depth: int, level: int) -> list[list[_Fault]]:
    misfits = [sum(fault.misfit(depth) for fault in branch) for branch in branches]
    best = branches[misfits.index(min(misfits))]
    if len(branches) > 1:
        if min(misfits) >= 1000:
            return [[fault for branch in branches for fault in branch if len(fault.path) == depth]]
        choice = next((fault for fault in best if fault.kind in _CHOICES and len(fault.path) == depth + 1), None)
        if choice is not None:
            same = [f for branch in branches for f in branch if f.path == choice.path and f.kind in _CHOICES]
            return [same]
    return _best(best, level + 1)


def _problem(group: list[_Fault], document: Document, schema: SchemaTree) -> Problem:
    fault = group[0]
    place = document.place(fault.path)
    if fault.kind == "extra_forbidden":
        allowed = schema.keys(fault.parent)
        key = str(fault.path[-1])
        message = f"unknown key {quoted(key)}{did_you_mean(key, allowed)}"
        return Problem(message, document.key_place(fault.path), f"allowed here: {listed(allowed)}")
    if fault.kind == "missing":
        place = document.key_place(fault.path)
        return Problem(f"missing key {quoted(fault.path[-1])}", place, schema.description(fault.position))
    if fault.kind == "union_tag_invalid":
        place = document.place((*fault.path, _discriminator(fault)))
        return Problem(_not_among(fault.error["ctx"]["tag"], list(schema.tags(fault.position))), place)
    if fault.kind == "union_tag_not_found":
        tags = listed(schema.tags(fault.position))
        place = document.key_place((*fault.path, _discriminator(fault)))
        return Problem(f"missing key {quoted(_discriminator(fault))}", place, f"one of {tags}")
    message, hint = _wrong_value(group)
    return Problem(message, place, hint or schema.description(fault.position))


def _discriminator(fault: _Fault) -> str:
    return str(fault.error["ctx"]["discriminator"]).strip("'")


def _wrong_value(group: list[_Fault]) -> tuple[str, str | None]:
    error = group[0].error
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, SimdmlError):
        return cause.message, cause.hint
    if isinstance(cause, Exception):
        return str(cause), None
    value = error["input"]
    choices = [choice for fault in group if fault.kind in _CHOICES for choice in _choices(fault)]
    kinds = list(dict.fromkeys(_EXPECTED[fault.kind] for fault in group if fault.kind in _EXPECTED))
    if choices and not kinds and isinstance(value, str):
        return _not_among(value, choices), None
    if choices or kinds:
        near = did_you_mean(value, choices) if isinstance(value, str) else ""
        expected = " or ".join([*kinds, *map(quoted, choices)])
        return f"expected {expected}, found {_found(value)}{near}", None
    message = str(error["msg"]).replace("Input should be", "must be")
    return f"{message}, found {_found(value)}", None


def _choices(fault: _Fault) -> list[str]:
    return _QUOTED.findall(str(fault.error["ctx"]["expected"]))


def _not_among(value: str, choices: list[str]) -> str:
    return f"{quoted(value)} is not one of {listed(map(quoted, choices))}{did_you_mean(value, choices)}"


def _found(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    return f"text {quoted(value)}" if isinstance(value, str) else str(value)
