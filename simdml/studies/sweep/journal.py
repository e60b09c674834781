"""Finished points on disk, so that a sweep that was killed goes on where it was.

The first line says which sweep it is: a digest of simdml's own files, the scenario, its axes and the files it names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from simdml.errors import OutputError
from simdml.studies.sweep.lines import Lines
from simdml.studies.sweep.outcome import Outcome, outcome_from

FILE = "journal.jsonl"
_DIGEST, _POINT = "sweep", "point"


class Journal(Lines):
    """The journal of the sweep with ``digest`` in ``folder``; ``finished`` are the outcomes it had when opened.

    Raises:
        OutputError: the folder cannot be used, has the journal of another sweep, or another process writes it.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        super().__init__(folder / FILE)
        try:
            self.finished = self._finished(digest)
        except BaseException:
            self.close()
            raise

    def add(self, number: int, outcome: Outcome) -> None:
        """Append the outcome of point ``number``; raises OutputError."""
        self.append({_POINT: number, **outcome.plain()})

    def _finished(self, digest: str) -> Mapping[int, Outcome]:
        entries = self.entries
        if any(not entry.keys() & {_DIGEST, _POINT} for entry in entries):
            raise self.damaged()
        if not entries:
            self.append({_DIGEST: digest})
        elif entries[0].get(_DIGEST) != digest:
            raise OutputError(
                f"{self.path} is of another sweep: another scenario, other values, or another simdml",
                hint="give --out another folder, or delete this one",
            )
        return {entry.pop(_POINT): outcome_from(entry) for entry in entries[1:]}
