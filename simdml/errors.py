"""Everything that can go wrong, as one tree; each leaf has its own exit code.

::

    SimdmlError                70  (raised only through its children)
    ├── UsageError              2  the command line itself is wrong
    ├── DocumentError           3  a file, or a value in it, cannot be accepted
    │   └── UnitError           3  a quantity cannot be read (also a ValueError)
    ├── UnknownNameError        4  no model, GPU, cluster, schedule, profile, ... of that name
    ├── InfeasibleError         5  each value is fine, together they are impossible
    ├── DoesNotFitError         6  the job needs more device memory than there is
    ├── TopologyError           7  the cluster cannot carry the job's traffic
    ├── OutputError             8  a result cannot be written
    └── InternalError          70  a defect in simdml

A message says what is wrong, where, what was expected, the nearest match and what to do next; ``str(error)`` is
the whole of it, ready to be printed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

EXIT_CODES: Mapping[int, str] = MappingProxyType(
    {
        0: "success",
        2: "usage: an unknown command or option, or an option without its value",
        3: "document: a file cannot be read, or a key, value or unit in it cannot be accepted",
        4: "unknown name: no such model, GPU, cluster, schedule, profile or scenario",
        5: "infeasible: values that are fine alone and impossible together",
        6: "does not fit: the job needs more device memory than there is",
        7: "topology: an unreachable rank, or a link that carries nothing",
        8: "output: a result cannot be written",
        70: "internal: a defect in simdml, please report it",
        130: "interrupted",
    }
)

PROBLEMS_SHOWN = 8
NAMES_SHOWN = 24
SNIPPET_COLUMNS = 100


def dotted(path: Iterable[str | int]) -> str:
    """Return ``("nodes", 3, "gpu")`` as ``nodes[3].gpu``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value came from: ``file``, ``line`` and ``column`` (from 1) and its path in the document.

    ``line`` is None for what has no lines: a ``--set`` option, a Python mapping.
    """

    file: str
    line: int | None = None
    column: int | None = None
    path: tuple[str | int, ...] = ()
    source_line: str | None = None

    def __str__(self) -> str:
        """Return ``file:line:column``, without what is None."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)

    @property
    def dotted(self) -> str:
        """The path in the document, as ``strategy.mesh.tp``."""
        return dotted(self.path)

    def snippet(self) -> str:
        """Return the source line with a caret under the column, or nothing where there is no source."""
        if self.source_line is None or self.line is None or self.column is None:
            return ""
        start = max(0, self.column - 1 - SNIPPET_COLUMNS // 2)
        shown = self.source_line[start : start + SNIPPET_COLUMNS].replace("\t", " ").rstrip()
        gutter = f"{self.line:>6} | "
        caret = " " * (len(gutter) - 2) + "| " + " " * (self.column - 1 - start) + "^"
        return f"{gutter}{shown}\n{caret}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: what, where, and what to do about it."""

    message: str
    place: Place | None = None
    hint: str | None = None

    def __str__(self) -> str:
        """Return place and message, the source line with a caret, and the hint."""
        where = "" if self.place is None else f"{self.place}: "
        if self.place is not None and self.place.path and not self.place.file.endswith(f" {self.place.dotted}"):
            where += f"{self.place.dotted}: "
        lines = [where + self.message]
        if self.place is not None and (snippet := self.place.snippet()):
            lines.append(snippet)
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


def nearest_names(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return up to ``count`` of ``known`` closest to ``name``, ignoring case and ``-`` ``_`` and spaces."""
    folded: dict[str, list[str]] = {}
    for candidate in known:
        folded.setdefault(_fold(candidate), []).append(candidate)
    # difflib is loaded for those who misspell.
    import difflib

    close = difflib.get_close_matches(_fold(name), folded, n=count, cutoff=0.6)
    return [candidate for key in close for candidate in folded[key]][:count]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean "x" or "y"?``, or nothing where no name is close."""
    close = nearest_names(name, known)
    return f"; did you mean {' or '.join(quoted(near) for near in close)}?" if close else ""


def quoted(value: object) -> str:
    """Return ``value`` in double quotes, cut to a line, control characters escaped."""
    text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(value)[:100])
    return f'"{text if len(text) <= 60 else text[:57] + "..."}"'


def listed(names: Iterable[str]) -> str:
    """Return ``names`` separated by commas, cut to a few lines."""
    every = list(names)
    more = f", and {len(every) - NAMES_SHOWN} more" if len(every) > NAMES_SHOWN else ""
    return ", ".join(every[:NAMES_SHOWN]) + more


def _fold(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "").replace(" ", "")


def _restore(kind: type[SimdmlError], args: tuple[Any, ...]) -> SimdmlError:
    error = kind.__new__(kind, *args)
    error.args = args
    return error


class SimdmlError(Exception):
    """Anything simdml reports to its user; ``exit_code`` is what the command line ends with."""

    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, *, hint: str | None = None, place: Place | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.place = place

    def __str__(self) -> str:
        """Return the whole message, ready to be printed."""
        return str(Problem(self.message, self.place, self.hint))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle whatever the constructor's signature, so that errors cross process pools."""
        return _restore, (type(self), self.args), self.__dict__


class UsageError(SimdmlError):
    """The command line itself is wrong."""

    exit_code = 2


class DocumentError(SimdmlError):
    """A file cannot be read, or ``problems`` in it: keys, values, units."""

    exit_code = 3

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        place: Place | None = None,
        problems: Iterable[Problem] = (),
    ) -> None:
        super().__init__(message, hint=hint, place=place)
        self.problems = tuple(problems) or (Problem(message, place, hint),)

    def __str__(self) -> str:
        """Return up to a screenful of problems."""
        if len(self.problems) == 1:
            return str(self.problems[0])
        shown = [str(problem) for problem in self.problems[:PROBLEMS_SHOWN]]
        if hidden := len(self.problems) - len(shown):
            shown.append(f"... and {hidden} more")
        return "\n".join([f"{self.message}:", *shown])


class UnitError(DocumentError, ValueError):
    """A quantity cannot be read: no unit, an unknown unit, or a number outside its range."""


class UnknownNameError(SimdmlError):
    """No ``kind`` (model, GPU, ...) is called ``name``; ``nearest`` lists the closest of ``known``."""

    exit_code = 4

    def __init__(
        self,
        kind: str,
        name: str,
        known: Iterable[str],
        *,
        hint: str | None = None,
        place: Place | None = None,
    ) -> None:
        self.kind = kind
        self.name = name
        self.known = tuple(known)
        self.nearest = tuple(nearest_names(name, self.known))
        if hint is None:
            hint = f"known: {listed(self.known)}" if self.known else "none are known"
        message = f"unknown {kind} {quoted(name)}{did_you_mean(name, self.known)}"
        super().__init__(message, hint=hint, place=place)


class InfeasibleError(SimdmlError):
    """Each value is fine and together they are impossible: degrees that do not divide, and the like."""

    exit_code = 5


class DoesNotFitError(SimdmlError):
    """``where`` (a rank, a stage) needs ``needed_bytes`` of device memory and has ``available_bytes``."""

    exit_code = 6

    def __init__(
        self,
        message: str,
        *,
        needed_bytes: float,
        available_bytes: float,
        where: str,
        hint: str | None = None,
        place: Place | None = None,
    ) -> None:
        self.needed_bytes = needed_bytes
        self.available_bytes = available_bytes
        self.where = where
        super().__init__(message, hint=hint, place=place)

    @property
    def excess_bytes(self) -> float:
        """How much too much."""
        return self.needed_bytes - self.available_bytes


class TopologyError(SimdmlError):
    """The cluster cannot carry the job's traffic: an unreachable rank, a link of zero bandwidth."""

    exit_code = 7


class OutputError(SimdmlError):
    """A result cannot be written."""

    exit_code = 8


class InternalError(SimdmlError):
    """A defect in simdml: an invariant that does not hold."""

    exit_code = 70
