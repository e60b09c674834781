"""Results as files: written whole or not at all, with the same bytes for the same result."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from simdml.errors import OutputError

PICTURES = (".png", ".svg", ".pdf")


class PicturePath(click.Path):
    """The name of a picture, refused before anything is computed where its suffix is that of none."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if path.suffix not in PICTURES:
            self.fail(f"cannot draw {str(path)!r}: end the name in {', '.join(PICTURES)}", param, ctx)
        return path


def json_text(data: Mapping[str, Any]) -> str:
    """Return JSON with sorted keys, and floats as the shortest text that reads back the same."""
    return json.dumps(data, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``; raises OutputError."""
    write_whole(path, partial(_write_utf8, text))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a file beside ``path`` and put it in its place when it is complete.

    The file beside has the same suffixes. Raises OutputError where that cannot be done.
    """
    _write_all({path: write})


def write_together(texts: Mapping[Path, str]) -> None:
    """Write several files, all of them or, where one cannot be written, none; raises OutputError."""
    _write_all({path: partial(_write_utf8, text) for path, text in texts.items()})


def _write_utf8(text: str, part: Path) -> None:
    part.write_text(text, encoding="utf-8", newline="\n")


def _write_all(writers: Mapping[Path, Callable[[Path], object]]) -> None:
    """Fill a file beside each path, and move all of them to their places when every one is complete."""
    parts: dict[Path, Path] = {}
    path = Path()
    try:
        for path, write in writers.items():
            parts[path] = part = _file_beside(path)
            write(part)
            os.chmod(part, 0o666 & ~_umask())
        for path in writers:
            os.replace(parts[path], path)
            del parts[path]
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}", hint=_hint(path)) from None
    finally:
        for part in parts.values():
            with contextlib.suppress(OSError):
                part.unlink()


def _file_beside(path: Path) -> Path:
    import tempfile

    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", suffix="".join(path.suffixes), dir=path.parent)
    os.close(handle)
    return Path(name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _hint(path: Path) -> str:
    if path.is_dir():
        return f"{path} is a folder: give a file name"
    return "give a folder you can write to"
