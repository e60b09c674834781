"""What varies: the ``vary`` section of a scenario, and ``--vary path=a,b,c``, into axes.

::

    vary:
      cluster.nodes: [1, 2, 4]                 # every path is an axis of a grid
      training.batch_per_gpu: 32 .. 128 step 32
      zipped: {model: [gpt2, gpt2_xl], training.global_batch: [64, 32]}   # one axis: first with first, and so on
      list:                                    # one axis: each entry sets what it names
        - {strategy: ddp}
        - {strategy: {mesh: {tp: 8}}, training.microbatch: 1}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from simdml.documents.document import Document, KeyPath
from simdml.documents.overriding import parse_path, parse_value
from simdml.errors import DocumentError, Place, SimdmlError, UsageError, quoted
from simdml.studies.sweep.ranges import Range, read_range

VARY, ZIPPED, LIST = "vary", "zipped", "list"
MOST_POINTS = 100_000
"""Points of one sweep at most: their rows are kept in memory, and a point takes tens of milliseconds."""
_HINT = "for example vary: {cluster.nodes: [1, 2, 4]}"


@dataclass(frozen=True, slots=True)
class Setting:
    """A value for the key at ``path`` of a scenario, ``steps`` in other words."""

    path: str
    steps: KeyPath
    value: Document


@dataclass(frozen=True, slots=True)
class Axis:
    """What varies together: every entry sets some of ``paths``."""

    paths: tuple[str, ...]
    entries: tuple[tuple[Setting, ...], ...]


def read_axes(document: Document, options: Iterable[str] = ()) -> tuple[Axis, ...]:
    """Return the axes of the ``vary`` section of ``document``; an option replaces the axis of its path.

    Raises:
        DocumentError: a section that cannot be read, values that are none, a path given twice, too many points.
        UsageError: an option that is not ``path=values``, or nothing varies.
    """
    drafts = list(_section(document))
    for given in map(_option, options):
        place = next((index for index, draft in enumerate(drafts) if draft.paths == given.paths), len(drafts))
        drafts[place : place + 1] = [given]
    if not drafts:
        raise UsageError("nothing varies", hint="add vary: to the scenario, or --vary cluster.nodes=1,2,4")
    _refuse_repeated(drafts)
    _refuse_too_many(drafts)
    return tuple(draft.axis() for draft in drafts)


@dataclass(frozen=True, slots=True)
class _Values:
    """Values of one path, ranges not yet written out."""

    path: str
    steps: KeyPath
    items: tuple[tuple[Document, Range | None], ...]

    @property
    def count(self) -> int:
        return sum(1 if found is None else found.count for _, found in self.items)

    def settings(self) -> Iterator[Setting]:
        for document, found in self.items:
            for value in (document.data,) if found is None else found.values():
                here = document if found is None else Document(document.name, value, {(): document.place()}, {})
                yield Setting(self.path, self.steps, here)


@dataclass(frozen=True, slots=True)
class _Zipped:
    """Columns of values that go together; a grid's axis has one."""

    columns: tuple[_Values, ...]
    place: Place

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(column.path for column in self.columns)

    @property
    def count(self) -> int:
        return self.columns[0].count

    def axis(self) -> Axis:
        return Axis(self.paths, tuple(zip(*(column.settings() for column in self.columns), strict=True)))


@dataclass(frozen=True, slots=True)
class _Listed:
    """Entries that each set what they name."""

    entries: tuple[tuple[Setting, ...], ...]
    place: Place

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(setting.path for entry in self.entries for setting in entry))

    @property
    def count(self) -> int:
        return len(self.entries)

    def axis(self) -> Axis:
        return Axis(self.paths, self.entries)


_Draft = _Zipped | _Listed


def _section(document: Document) -> Iterator[_Draft]:
    section = document.data.get(VARY, {})
    if not isinstance(section, dict):
        raise DocumentError("vary is not a mapping", place=document.place((VARY,)), hint=_HINT)
    if VARY in document.data and not section:
        raise DocumentError("vary is empty", place=document.place((VARY,)), hint=_HINT)
    for key, value in section.items():
        where: KeyPath = (VARY, key)
        if key == LIST:
            yield _listed(document, where)
        elif key != ZIPPED:
            yield _Zipped((_values(document, where, key),), document.key_place(where))
        elif isinstance(value, list):
            yield from (_zipped(document, (*where, index)) for index in range(len(value)))
        else:
            yield _zipped(document, where)


def _option(option: str) -> _Zipped:
    path, equals, values = option.partition("=")
    path = path.strip()
    if not equals:
        raise UsageError(f"--vary {quoted(option)} has no values", hint="for example --vary cluster.nodes=1,2,4")
    source = f"--vary {path}"
    parsed = parse_value(f"[{values}]", source)
    return _Zipped((_values(parsed, (), path),), Place(source))


def _values(document: Document, where: KeyPath, path: str) -> _Values:
    part = document.part(where)
    place = document.place(where)
    steps = _steps(path, document.key_place(where))
    items = [part.part((index,)) for index in range(len(part.data))] if isinstance(part.data, list) else [part]
    found = [(item, _range(item)) for item in items]
    if not items:
        raise DocumentError(f"{path} has no values to vary over", place=place, hint=_HINT)
    if not isinstance(part.data, list) and found[0][1] is None:
        hint = f"{path}: [a, b, c], or a range such as 10 Gbps .. 100 Gbps step 10 Gbps"
        raise DocumentError(f"{path} has one value, not a list or a range", place=place, hint=hint)
    return _Values(path, steps, tuple(found))


def _range(item: Document) -> Range | None:
    try:
        return read_range(item.data) if isinstance(item.data, str) else None
    except DocumentError as error:
        raise DocumentError(error.message, place=item.place(), hint=error.hint) from None


def _steps(path: str, place: Place) -> KeyPath:
    try:
        steps = parse_path(path)
    except SimdmlError as error:
        raise DocumentError(error.message, place=place, hint=error.hint) from None
    if steps[0] == VARY:
        raise DocumentError("vary cannot vary itself", place=place)
    return steps


def _zipped(document: Document, where: KeyPath) -> _Zipped:
    columns = [_values(document, (*where, path), path) for path in _mapping(document, where)]
    counts = {column.path: column.count for column in columns}
    if len(set(counts.values())) > 1:
        lengths = ", ".join(f"{path} has {count}" for path, count in counts.items())
        hint = "zipped values go together, first with first: give every path as many"
        raise DocumentError(f"zipped values differ in number: {lengths}", place=document.place(where), hint=hint)
    return _Zipped(tuple(columns), document.key_place(where))


def _listed(document: Document, where: KeyPath) -> _Listed:
    entries = document.part(where).data
    if not isinstance(entries, list) or not entries:
        hint = "for example list: [{strategy: ddp}, {strategy: {mesh: {tp: 8}}}]"
        raise DocumentError("list needs entries, each a mapping of paths", place=document.place(where), hint=hint)
    return _Listed(tuple(_entry(document, (*where, index)) for index in range(len(entries))), document.key_place(where))


def _entry(document: Document, where: KeyPath) -> tuple[Setting, ...]:
    return tuple(
        Setting(path, _steps(path, document.key_place((*where, path))), document.part((*where, path)))
        for path in _mapping(document, where)
    )


def _mapping(document: Document, where: KeyPath) -> Mapping[str, Any]:
    data: Any = document.data
    for step in where:
        data = data[step]
    if not isinstance(data, dict) or not data:
        raise DocumentError("a mapping of paths is needed", place=document.place(where), hint=_HINT)
    return data


def _refuse_repeated(drafts: Iterable[_Draft]) -> None:
    seen: dict[KeyPath, Place] = {}
    for draft in drafts:
        for path in draft.paths:
            steps = tuple(map(str, parse_path(path)))
            if steps in seen:
                raise DocumentError(
                    f"{path} varies twice, first at {seen[steps]}", place=draft.place, hint="keep one of the two"
                )
            seen[steps] = draft.place


def _refuse_too_many(drafts: Iterable[_Draft]) -> None:
    counts: Sequence[int] = [draft.count for draft in drafts]
    total = prod(counts)
    if total > MOST_POINTS:
        product = f"{' x '.join(f'{count:,}' for count in counts)} = " if len(counts) > 1 else ""
        raise DocumentError(
            f"{product}{total:,} points are too many: a sweep has at most {MOST_POINTS:,}",
            place=next(iter(drafts)).place,
            hint="give fewer values or larger steps, or zip paths that belong together",
        )
