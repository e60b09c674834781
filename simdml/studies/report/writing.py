"""A report as files: one page, or Markdown with its pictures beside it; all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from simdml.errors import OutputError, UsageError, quoted
from simdml.reporting.markdown import markdown
from simdml.reporting.page import MARK, page
from simdml.reporting.report import Report

_HEAD: Final = 600


def html_files(report: Report, path: Path) -> dict[Path, str]:
    """Return the one file of the page."""
    return {path: page(report)}


def markdown_files(report: Report, path: Path) -> dict[Path, str]:
    """Return the text, and its pictures as SVG files beside it."""
    names = {picture.name: f"{path.stem}-{picture.name}.svg" for picture in report.pictures()}
    pictures = {
        path.with_name(names[picture.name]): f"<!-- {MARK} -->\n{picture.svg}\n" for picture in report.pictures()
    }
    return {**pictures, path: markdown(report, names)}


FORMS: Final[Mapping[str, Callable[[Report, Path], dict[Path, str]]]] = {".html": html_files, ".md": markdown_files}
"""How a report is written, by the end of the file's name."""


def check_target(path: Path) -> None:
    """Refuse a name that is that of no report, before anything is computed.

    Raises:
        UsageError: another ending than those of :data:`FORMS`.
        OutputError: a file is there that is no report, or a folder.
    """
    if path.suffix not in FORMS:
        hint = f"end the name in {' or '.join(FORMS)}"
        if path.suffix == ".pdf":
            hint = f"write {path.with_suffix('.html')} and print it to PDF from a browser: it has a style for paper"
        raise UsageError(f"cannot write a report as {quoted(path)}", hint=hint)
    if path.is_dir():
        raise OutputError(f"{path} is a folder", hint="give a file name")
    _refuse_foreign(path)


def report_files(report: Report, path: Path) -> dict[Path, str]:
    """Return the contents of every file of the report at ``path``; raises OutputError where one would be lost."""
    files = FORMS[path.suffix](report, path)
    for file in files:
        _refuse_foreign(file)
    return files


def _refuse_foreign(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}", hint="give a folder you can write to") from None
    if head and MARK.encode() not in head:
        raise OutputError(f"{path} is there and is no report", hint="give another name, or move it away")
