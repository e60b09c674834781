"""Pictures as files: as the suffix says, with the same bytes for the same picture."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.figure import Figure

from simdml.errors import OutputError
from simdml.results.trace import write_atomically

SUFFIXES: Final = (".png", ".svg", ".pdf")
STYLE: Final[dict[Any, Any]] = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "simdml",
    "svg.fonttype": "none",
}
_UNDATED: Final[dict[str, dict[str, None]]] = {
    "svg": dict.fromkeys(("Creator", "Date", "Format", "Type")),
    "pdf": dict.fromkeys(("Creator", "CreationDate", "Producer")),
    "png": {"Software": None},
}


def save_drawing(draw: Callable[[], Figure], path: str | os.PathLike[str]) -> None:
    """Write what ``draw`` returns to ``path`` as its suffix says: .png, .svg or .pdf.

    Raises:
        OutputError: for another suffix, or if the file cannot be written.
    """
    target = checked_suffix(path)
    write_atomically(target, drawing_bytes(draw, target.suffix.removeprefix(".")))


def checked_suffix(path: str | os.PathLike[str]) -> Path:
    """Return ``path``; raises OutputError where its suffix is that of no picture."""
    target = Path(path)
    if target.suffix not in SUFFIXES:
        raise OutputError(f'cannot draw "{target}": use a name that ends with {", ".join(SUFFIXES)}')
    return target


def drawing_bytes(draw: Callable[[], Figure], kind: str) -> bytes:
    """Return the figure as ``png``, ``svg`` or ``pdf``, without when and with what it was drawn."""
    buffer = io.BytesIO()
    with rc_context(STYLE):
        draw().savefig(buffer, format=kind, dpi=150, metadata=_UNDATED[kind])
    return buffer.getvalue()
