"""A file of lines, each an entry appended whole: what a run that was killed had finished.

A last line that was cut short is dropped. One process writes at a time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from simdml.errors import OutputError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no advisory locks; there one simply must not run two.
    fcntl = None  # type: ignore[assignment]

_ELSEWHERE = "give --out another folder"


class Lines:
    """The file ``path``, made with its folder if need be; ``entries`` are those it had when opened.

    Raises:
        OutputError: the file cannot be used or is damaged, or another process writes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: Sequence[dict[str, Any]] = ()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}", hint=_ELSEWHERE) from None
        try:
            self._lock()
            self.entries = self._read()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Return the file."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Append an entry whole, or leave the file as it was and raise OutputError."""
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
                hint="what was finished before is kept; make room and run the same command again",
            ) from None

    def damaged(self) -> OutputError:
        """Return the error for a file whose entries are not what they should be."""
        return OutputError(f"{self.path} is damaged", hint=f"{_ELSEWHERE}, or delete this one")

    def _lock(self) -> None:
        if fcntl is None:  # pragma: no cover
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            message = f"another process is writing {self.path}"
            raise OutputError(message, hint=f"wait for it, or {_ELSEWHERE}") from None

    def _read(self) -> list[dict[str, Any]]:
        with open(self._file, "rb", closefd=False) as file:
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.ftruncate(self._file, len(whole))
        return [self._parsed(line) for line in whole.splitlines()]

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            raise self.damaged()
        return entry
