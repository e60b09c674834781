"""XML as a tree with line numbers; document types and entities are refused, so nothing can be expanded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

from simdml.errors import DocumentError, Place

DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Element:
    """An element, its attributes and children, and the line it begins at."""

    tag: str
    attributes: Mapping[str, str]
    line: int
    children: list[Element] = field(default_factory=list)

    def get(self, name: str) -> str:
        """Return an attribute, empty where it is absent."""
        return self.attributes.get(name, "")

    def below(self, tag: str) -> Iterator[Element]:
        """Yield every element called ``tag`` below this one."""
        for child in self.children:
            if child.tag == tag:
                yield child
            yield from child.below(tag)


def parse_xml(text: str, name: str) -> Element:
    """Return the root of the document in ``text``; ``name`` stands for the file.

    Raises:
        DocumentError: not well-formed, too deep, or with a document type (which could define entities).
    """
    stack: list[Element] = []
    roots: list[Element] = []
    parser = expat.ParserCreate()

    def refuse(*_: object) -> None:
        place = Place(name, parser.CurrentLineNumber, parser.CurrentColumnNumber + 1)
        raise DocumentError("a document type is not allowed here", place=place, hint="remove the <!DOCTYPE ...>")

    def start(tag: str, attributes: dict[str, str]) -> None:
        element = Element(tag, attributes, parser.CurrentLineNumber)
        (stack[-1].children if stack else roots).append(element)
        stack.append(element)
        if len(stack) > DEEPEST:
            place = Place(name, parser.CurrentLineNumber, 1)
            raise DocumentError(f"elements are nested deeper than {DEEPEST}", place=place)

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: stack.pop()
    try:
        parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        lines = text.splitlines()
        source = lines[error.lineno - 1] if 0 < error.lineno <= len(lines) else None
        place = Place(name, error.lineno, error.offset + 1, source_line=source)
        raise DocumentError(f"this is not XML: {expat.ErrorString(error.code)}", place=place,
                            hint="is the file complete?") from None  # fmt: skip
    return roots[0]
