"""Finished points on disk: a line each, appended whole, so that a sweep that was killed goes on where it was.

The first line says which sweep it is: a digest of simdml's own files, the scenario, its axes and the files it names.
A last line that was cut short is dropped. One process writes at a time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from simdml.errors import OutputError
from simdml.studies.sweep.outcome import Outcome, outcome_from

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no advisory locks; there one simply must not run two.
    fcntl = None  # type: ignore[assignment]

FILE = "journal.jsonl"
_DIGEST, _POINT = "sweep", "point"


class Journal:
    """The journal of the sweep with ``digest`` in ``folder``; ``finished`` are the outcomes it had when opened.

    Raises:
        OutputError: the folder cannot be used, has the journal of another sweep, or another process writes it.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self.path = folder / FILE
        self.finished: Mapping[int, Outcome] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror}", hint="give --out another folder") from None
        try:
            self._lock()
            self.finished = self._read(digest)
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Journal:
        """Return the journal."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        os.close(self._file)

    def add(self, number: int, outcome: Outcome) -> None:
        """Append the outcome of point ``number``; raises OutputError."""
        self._append({_POINT: number, **outcome.plain()})

    def _append(self, entry: Mapping[str, Any]) -> None:
        line = (json.dumps(entry, sort_keys=True, allow_nan=False) + "\n").encode()
        size = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError(28, os.strerror(28))
        except OSError as error:
            os.ftruncate(self._file, size)
            raise OutputError(
                f"cannot write {self.path}: {error.strerror}",
                hint="the points before are kept; make room and run the same command again",
            ) from None

    def _lock(self) -> None:
        if fcntl is None:  # pragma: no cover
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OutputError(
                f"another process is writing {self.path}", hint="wait for it, or give --out another folder"
            ) from None

    def _read(self, digest: str) -> dict[int, Outcome]:
        with open(self._file, "rb", closefd=False) as file:
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.ftruncate(self._file, len(whole))
        entries = [self._parsed(line) for line in whole.splitlines()]
        if not entries:
            self._append({_DIGEST: digest})
        elif entries[0].get(_DIGEST) != digest:
            raise OutputError(
                f"{self.path} is of another sweep: another scenario, other values, or another simdml",
                hint="give --out another folder, or delete this one",
            )
        return {entry.pop(_POINT): outcome_from(entry) for entry in entries[1:]}

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or not entry.keys() & {_DIGEST, _POINT}:
            raise OutputError(f"{self.path} is damaged", hint="give --out another folder, or delete this one")
        return entry
