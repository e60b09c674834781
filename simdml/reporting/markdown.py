"""A report as Markdown, for repositories and wikis; pictures are files beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from simdml.reporting.page import MARK
from simdml.reporting.report import Block, Listing, Picture, Points, Report, Table, Words


def markdown(report: Report, files: Mapping[str, str]) -> str:
    """Return the report in GitHub's Markdown; ``files`` has the file of every picture by its name."""
    return "\n\n".join(_parts(report, files)) + "\n"


def _parts(report: Report, files: Mapping[str, str]) -> Iterator[str]:
    yield f"<!-- {MARK} {report.version} -->"
    yield f"# {_text(report.title)}"
    yield _text(report.subject)
    yield f"**{_text(report.answer)}**"
    yield from map(_text, report.certainty)
    if report.tiles:
        yield _table(Table("", ("", ""), report.tiles, text_columns=2))
    if report.warnings:
        yield "## Before you act on it"
        yield _list(report.warnings)
    for section in report.ordered():
        yield f"## {_text(section.title)}"
        for block in section.blocks:
            yield from _block(block, files)
    yield f"Made by simdml {report.version}."


def _block(block: Block, files: Mapping[str, str]) -> Iterator[str]:
    if isinstance(block, Words):
        yield from map(_text, block.paragraphs)
    elif isinstance(block, Points):
        yield _list(block.items)
    elif isinstance(block, Listing):
        yield _text(block.caption) + ":"
        yield f"```yaml\n{block.text}```"
    elif isinstance(block, Picture):
        yield f"![{_text(block.alt)}]({files[block.name]})"
        if block.caption:
            yield f"*{_text(block.caption)}*"
    else:
        yield f"*{_text(block.caption)}*"
        yield _table(block)


def _list(items: tuple[str, ...]) -> str:
    return "\n".join(f"- {_text(item)}" for item in items)


def _table(table: Table) -> str:
    align = ["---:" if number in table.numbers else "---" for number in range(len(table.columns))]
    rows = [table.columns, align, *table.rows]
    return "\n".join(f"| {' | '.join(_text(cell) for cell in row)} |" for row in rows)


def _text(text: str) -> str:
    """Return ``text`` so that it reads as it stands."""
    for char in "\\`*_<>[]|":
        text = text.replace(char, f"\\{char}")
    return " ".join(text.split())
