"""YAML text into plain data and the place of every key and value.

PyYAML's scanner and parser find the structure; scalars are read by :mod:`simdml.documents.scalars`. Anchors,
aliases, merge keys and tags are refused: a file says what it means, and stays as small as it looks. Keys are text
whatever they look like.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from yaml.composer import Composer
from yaml.error import Mark, MarkedYAMLError, YAMLError
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from simdml.documents.document import KeyPath
from simdml.documents.scalars import ScalarError, plain_scalar
from simdml.errors import DocumentError, Place, quoted

DEEPEST = 64


class _Refused(Exception):
    def __init__(self, message: str, mark: Mark, hint: str | None = None) -> None:
        super().__init__(message)
        self.mark = mark
        self.hint = hint


class _PlainComposer(Composer):
    """PyYAML's composer without anchors, aliases and tags, to a limited depth."""

    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()  # type: ignore[attr-defined]
        if isinstance(event, AliasEvent) or event.anchor is not None:
            hint = "repeat the value, or put what is shared into a base file named by extends"
            raise _Refused("anchors (&) and aliases (*) are not accepted", event.start_mark, hint)
        if getattr(event, "tag", None) is not None:
            raise _Refused("tags (!) are not accepted", event.start_mark, "quote text that starts with !")
        if self.depth >= DEEPEST:
            raise _Refused(f"nested more than {DEEPEST} deep", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Slow(_PlainComposer, Reader, Scanner, Parser, BaseResolver):
    """Parses in Python."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)


def _fast() -> Callable[[str], _PlainComposer] | None:
    """Return a composer that parses in C, several times faster, where PyYAML was built with libyaml."""
    try:
        from yaml._yaml import CParser
    except ImportError:
        return None

    class Fast(_PlainComposer, CParser, BaseResolver):
        def __init__(self, text: str) -> None:
            CParser.__init__(self, text)
            Composer.__init__(self)
            BaseResolver.__init__(self)

    return Fast


_FAST = _fast()


def _is_plain(node: Node) -> bool:
    return isinstance(node, ScalarNode) and not node.style


class _Builder:
    """Walks composed nodes once, collecting data and places."""

    def __init__(self, file: str, lines: list[str]) -> None:
        self.file = file
        self.lines = lines
        self.values: dict[KeyPath, Place] = {}
        self.keys: dict[KeyPath, Place] = {}

    def place(self, mark: Mark, path: KeyPath = ()) -> Place:
        source = self.lines[mark.line] if mark.line < len(self.lines) else ""
        return Place(self.file, mark.line + 1, mark.column + 1, path, source)

    def build(self, node: Node, path: KeyPath) -> Any:
        self.values[path] = self.place(node.start_mark, path)
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        if not _is_plain(node):
            return self._text(node, path)
        try:
            return plain_scalar(node.value)
        except ScalarError as error:
            raise DocumentError(
                str(error), place=self.values[path], hint="a finite number is needed; quote it if it is text"
            ) from None

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            inner = (*path, key)
            place = self.place(key_node.start_mark, inner)
            if key in mapping:
                first = self.keys[inner]
                message = f"duplicate key {quoted(key)}, first given at {first}"
                raise DocumentError(message, place=place, hint="keep one of the two")
            self.keys[inner] = place
            mapping[key] = self.build(value_node, inner)
        return mapping

    def _key(self, node: Node, path: KeyPath) -> str:
        if not isinstance(node, ScalarNode) or (_is_plain(node) and not node.value):
            raise DocumentError("a key must be a word", place=self.place(node.start_mark, path))
        if _is_plain(node) and node.value == "<<":
            place = self.place(node.start_mark, path)
            raise DocumentError("merge keys (<<) are not accepted", place=place, hint="use extends")
        return self._text(node, path)

    def _text(self, node: Node, path: KeyPath) -> str:
        text = str(node.value)
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise DocumentError("half a character: a lone surrogate", place=self.place(node.start_mark, path))
        return text


def compose(text: str, file: str) -> tuple[Any, dict[KeyPath, Place], dict[KeyPath, Place]]:
    """Return the data of YAML ``text``, the places of its values and of its keys.

    Empty text is None. Raises DocumentError with the place of what is wrong.
    """
    builder = _Builder(file, text.splitlines())
    try:
        node = _single_node(text)
    except _Refused as error:
        raise DocumentError(str(error), place=builder.place(error.mark), hint=error.hint) from None
    except YAMLError as error:
        _fail(error, builder, text)
    if node is None:
        return None, {(): Place(file, 1, 1)}, {}
    return builder.build(node, ()), builder.values, builder.keys


def _single_node(text: str) -> Node | None:
    """Parse with libyaml where PyYAML has it, and in Python for the message where that fails."""
    if _FAST is not None:
        try:
            return _FAST(text).get_single_node()
        except (YAMLError, UnicodeError):
            pass
    try:
        return _Slow(text).get_single_node()
    except ValueError:
        raise YAMLError("a character escape is out of range") from None


def _fail(error: YAMLError, builder: _Builder, text: str) -> NoReturn:
    if isinstance(error, ReaderError):
        before = text[: error.position].splitlines() or [""]
        place = Place(builder.file, len(before), len(before[-1]) + 1)
        message = f"not a text file: it contains the control character U+{ord(text[error.position]):04X}"
        raise DocumentError(message, place=place) from None
    if not isinstance(error, MarkedYAMLError):
        raise DocumentError(f"not YAML: {error}", place=Place(builder.file)) from None
    mark = error.problem_mark or error.context_mark
    place = Place(builder.file) if mark is None else builder.place(mark)
    problem = error.problem or error.context or "cannot be read"
    raise DocumentError(f"not YAML: {problem}", place=place, hint=_yaml_hint(problem)) from None


def _yaml_hint(problem: str) -> str | None:
    if "'\\t'" in problem:
        return "indent with spaces, not tabs"
    if "mapping values are not allowed" in problem:
        return 'check the indentation, and quote text that contains ": "'
    if "found another document" in problem or "expected a single document" in problem:
        return "a file holds one document: remove the second ---"
    if "%" in problem or "cannot start any token" in problem:
        return "quote text that starts with @ ` or %"
    return None
