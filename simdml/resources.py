"""Bundled files: topologies, scenarios, measured profiles and report templates.

In a source checkout they are folders beside the package; in an installed wheel they are in ``simdml/_data/``.
A file is known by its path below its folder without the suffix: ``dgx_h100``, ``sc21/row_01``. Files and folders
whose name starts with ``_`` or ``.`` are not listed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

from simdml.errors import DocumentError, InternalError, Place, UnknownNameError, did_you_mean, listed

Kind = Literal["topologies", "scenarios", "calibrate", "reports"]

PACKAGE = Path(__file__).resolve().parent
SUFFIXES: Mapping[Kind, tuple[str, ...]] = {
    "topologies": (".yaml",),
    "scenarios": (".yaml",),
    "calibrate": (".yaml", ".json", ".csv"),
    "reports": (".html", ".j2", ".yaml"),
}
_NOUNS: Mapping[Kind, str] = {
    "topologies": "cluster",
    "scenarios": "scenario",
    "calibrate": "profile",
    "reports": "report",
}
_FILE_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes) | {".yml"}


def data_dir(kind: Kind) -> Path:
    """Return the folder of bundled ``kind``, in a wheel or in a checkout.

    Raises:
        InternalError: neither is there, so the installation is incomplete.
    """
    return _data_dir(PACKAGE, kind)


@lru_cache(maxsize=32)
def _data_dir(package: Path, kind: Kind) -> Path:
    """Return the folder of bundled ``kind`` of an installation, which stays where it is."""
    installed = package / "_data" / kind
    if installed.is_dir():
        return installed
    beside = package.parent / kind
    if beside.is_dir() and (package.parent / "pyproject.toml").is_file():
        return beside
    raise InternalError(
        f"the bundled {kind} are in neither {installed} nor {beside}",
        hint="reinstall simdml: pip install --force-reinstall simdml",
    )


def available(kind: Kind) -> tuple[str, ...]:
    """Return the names of bundled files of ``kind``, sorted."""
    return tuple(sorted(_bundled(kind)))


def find(kind: Kind, name: str | os.PathLike[str]) -> Path:
    """Return the file ``name`` stands for: an existing file first, then a bundled name.

    Raises:
        DocumentError: ``name`` is written as a path (``./x.yaml``) and there is no such file.
        UnknownNameError: ``name`` is neither a file nor a bundled name; the nearest are listed.
    """
    text = os.fspath(name)
    path = Path(text)
    if path.is_file():
        return path
    bundled = _bundled(kind)
    key = text.replace(os.sep, "/").removeprefix(f"{kind}/")
    for candidate in (key, *(key.removesuffix(suffix) for suffix in SUFFIXES[kind] if key.endswith(suffix))):
        if candidate in bundled:
            return bundled[candidate]
    is_below_bundled = any(name.startswith(f"{path.parent.as_posix()}/") for name in bundled)
    if (os.sep in text and not is_below_bundled) or text.startswith(".") or path.suffix in _FILE_SUFFIXES:
        if path.is_dir():
            raise DocumentError(f"{text} is a folder, not a file", place=Place(text))
        raise missing_file(path)
    hint = f"bundled: {listed(sorted(bundled)) or 'none'}; or give the path of a file, ./{path.name}.yaml"
    raise UnknownNameError(_NOUNS[kind], text, sorted(bundled), hint=hint)


def missing_file(path: Path) -> DocumentError:
    """Return the error for a file that is not there, with the nearest file name, or the nearest missing folder."""
    folder = path.parent
    if not folder.is_dir():
        return DocumentError(f'no file "{path}": there is no folder "{folder}"')
    try:
        beside = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError:
        beside = []
    return DocumentError(f'no file "{path}"{did_you_mean(path.name, beside)}')


def _bundled(kind: Kind) -> Mapping[str, Path]:
    folder = data_dir(kind)
    return _listing(kind, folder, folder.stat().st_mtime_ns)


@lru_cache(maxsize=32)
def _listing(kind: Kind, folder: Path, changed_ns: int) -> Mapping[str, Path]:  # noqa: ARG001
    """Return the files of a folder by name; it is read again when files were added to it or taken away."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(("_", ".")) for part in relative.parts)
        if path.suffix in SUFFIXES[kind] and not hidden and path.is_file():
            found.setdefault(relative.with_suffix("").as_posix(), path)
    return found
