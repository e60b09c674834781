"""Which sweep this is: a digest of everything its outcomes rest on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from simdml import __version__
from simdml.documents.document import Document, KeyPath
from simdml.resources import PACKAGE, Kind, data_dir
from simdml.studies.sweep.grid import Point

_DATA: tuple[Kind, ...] = ("topologies", "calibrate")
_SUFFIXES = frozenset({".py", ".yaml", ".json"})
_SECTIONS = frozenset({"cluster", "model", "profile", "communication", "strategy"})


@cache
def code_digest() -> str:
    """Return a digest of simdml's code and bundled data: equal digests predict equal numbers."""
    digest = hashlib.sha256(__version__.encode())
    for folder in (PACKAGE, *map(data_dir, _DATA)):
        for path in sorted(folder.rglob("*")):
            if path.suffix in _SUFFIXES and path.is_file():
                digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def sweep_digest(name: str, base: Document, points: Iterable[Point]) -> str:
    """Return a digest of a sweep: simdml, the scenario called ``name``, its points, and the user's files they name."""
    digest = hashlib.sha256(code_digest().encode())
    digest.update(json.dumps([name, base.data], sort_keys=True).encode())
    files = set(_files(base, ()))
    for point in points:
        digest.update(json.dumps([point.number, point.values()], sort_keys=True).encode())
        for setting in point.settings:
            files.update(_files(setting.value, setting.steps))
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _files(document: Document, above: KeyPath) -> Iterator[Path]:
    """Yield files that texts of ``document`` name in sections where text may name one."""
    for path in document.value_places:
        whole = (*above, *path)
        value: Any = document.data
        for step in path:
            value = value[step]
        if isinstance(value, str) and whole and whole[0] in _SECTIONS and len(value) < 512:
            beside = document.folder(path) / value
            yield from (file for file in (beside, Path(value)) if _is_file(file))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
