"""Errors from lower floors, told where in the scenario they come from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from simdml.documents.document import Document, KeyPath
from simdml.errors import DocumentError, SimdmlError


@contextmanager
def located(document: Document, *path: str | int) -> Iterator[None]:
    """Give an error raised inside, if it has no place, that of ``path`` in ``document``, or of what is around it."""
    try:
        yield
    except SimdmlError as error:
        if error.place is None:
            error.place = place = document.place(written(document, path))
            if isinstance(error, DocumentError):
                error.problems = tuple(
                    problem if problem.place is not None else replace(problem, place=place)
                    for problem in error.problems
                )
        raise


def written(document: Document, path: KeyPath) -> KeyPath:
    """Return the longest beginning of ``path`` that the document has a value at."""
    for length in range(len(path), 0, -1):
        if path[:length] in document.value_places:
            return path[:length]
    return ()
