"""A log as numbered lines, and the error that names one of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from simdml.errors import DocumentError, Place
from simdml.resources import missing_file

LARGEST_BYTES = 64 * 2**20
_LAUNCHER_PREFIX = re.compile(r"^(?:\[\d+,\d+\](?:<\w+>)?:?|\d+:\s)")
"""What mpirun ("[1,0]<stdout>:") and srun ("0: ") put before every line."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of ``file``, ``number`` from 1, without the launcher's prefix."""

    file: str
    number: int
    text: str

    def damaged(self, message: str, expected: str) -> DocumentError:
        """Return the error that points at this line and says what was ``expected`` there."""
        place = Place(self.file, self.number, 1, source_line=self.text)
        return DocumentError(message, place=place, hint=f"expected {expected}")

    def numbers(self, expected: str, start: int = 0) -> list[float]:
        """Return the blanks-separated tokens from ``start`` on as numbers; raises DocumentError."""
        found = []
        for token in self.text.split()[start:]:
            try:
                found.append(float(token))
            except ValueError:
                raise self.damaged(f"{token!r} is not a number", expected) from None
        return found


def read_log(path: Path) -> str:
    """Return the text of a log of at most 64 MiB; bytes that are not UTF-8 are replaced.

    Raises:
        DocumentError: missing, a folder, too large, binary, or not readable.
    """
    place = Place(str(path))
    try:
        if path.is_dir():
            raise DocumentError("this is a folder, not a file", place=place)
        if path.stat().st_size > LARGEST_BYTES:
            raise DocumentError("the log is larger than 64 MiB", place=place, hint="keep the rows of the table")
        content = path.read_bytes()
    except FileNotFoundError:
        raise missing_file(path) from None
    except OSError as error:
        raise DocumentError(f"the file cannot be read: {error.strerror}", place=place) from None
    if b"\0" in content:
        raise DocumentError("this is a binary file, not a log", place=place)
    return content.decode("utf-8-sig", errors="replace")


def log_lines(text: str, name: str) -> list[LogLine]:
    """Return the lines of ``text``; ``name`` stands for the file."""
    return [
        LogLine(name, number, _LAUNCHER_PREFIX.sub("", line).rstrip())
        for number, line in enumerate(text.splitlines(), start=1)
    ]


def empty(name: str, expected: str) -> DocumentError:
    """Return the error for a file in which nothing was found."""
    return DocumentError("no measurement was found in this file", place=Place(name), hint=f"expected {expected}")
