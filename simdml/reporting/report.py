"""A report as data: what it answers, how sure it is, and sections of words, tables and pictures.

Studies make reports, :mod:`simdml.reporting.page` and :mod:`simdml.reporting.markdown` write them. What a section is
about decides where it stands, so that every study may add sections of its own in any order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum, auto


class Topic(IntEnum):
    """What a section is about, in the order of a report."""

    ERRORS = auto()
    CONSTRAINT = auto()
    CHANGE = auto()
    ALTERNATIVES = auto()
    DIFFERENCES = auto()
    INTERRUPTIONS = auto()
    TIME = auto()
    TIMELINE = auto()
    NETWORK = auto()
    MEMORY = auto()
    SERVERS = auto()
    COST = auto()
    CERTAINTY = auto()
    ASSUMPTIONS = auto()
    LIMITS = auto()
    REPRODUCTION = auto()


@dataclass(frozen=True, slots=True)
class Words:
    """Paragraphs."""

    paragraphs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Points:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a ``caption``; the first ``text_columns`` columns and the last ``remark_columns`` are words.

    ``total`` says that the last row sums up the others.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int = 1
    remark_columns: int = 0
    total: bool = False

    @property
    def numbers(self) -> range:
        """The columns of numbers, which are set to the right and never broken into lines."""
        return range(self.text_columns, len(self.columns) - self.remark_columns)


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing as SVG; ``name`` is that of a file, ``alt`` says what can be seen to those who cannot see it."""

    name: str
    svg: str
    alt: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """Text as it stands in a file."""

    caption: str
    text: str


Block = Words | Points | Table | Picture | Listing


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks under a ``title``."""

    topic: Topic
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What one subject adds to a report: a sentence of the answer, how sure it is, numbers, warnings, sections."""

    answer: str = ""
    certainty: tuple[str, ...] = ()
    tiles: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """``answer`` in a sentence or two, ``certainty`` beside it; ``tiles`` are the numbers asked for first.

    ``warnings`` are what a reader must know before acting on the answer.
    """

    title: str
    subject: str
    answer: str
    certainty: tuple[str, ...]
    tiles: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]
    version: str

    @classmethod
    def of(cls, parts: Iterable[Part], *, title: str, subject: str, version: str) -> Report:
        """Return the report that ``parts`` make, each in turn."""
        every = list(parts)
        return cls(
            title=title,
            subject=subject,
            answer=" ".join(part.answer for part in every if part.answer),
            certainty=_once(text for part in every for text in part.certainty),
            tiles=tuple(tile for part in every for tile in part.tiles),
            warnings=_once(text for part in every for text in part.warnings),
            sections=tuple(section for part in every for section in part.sections),
            version=version,
        )

    def ordered(self) -> list[Section]:
        """Return the sections that say something, by topic."""
        return sorted((section for section in self.sections if section.blocks), key=lambda section: section.topic)

    def pictures(self) -> list[Picture]:
        """Return every picture in the order of the report."""
        return [block for section in self.ordered() for block in section.blocks if isinstance(block, Picture)]

    def joined(self, other: Report) -> Report:
        """Return this report with the sections, certainties and warnings of ``other`` after its own.

        Of two sections with one title the first stays.
        """
        titles = {section.title for section in self.sections}
        return replace(
            self,
            certainty=_once([*self.certainty, *other.certainty]),
            warnings=_once([*self.warnings, *other.warnings]),
            sections=(*self.sections, *(section for section in other.sections if section.title not in titles)),
        )


def _once(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))
