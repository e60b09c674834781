"""A file into text, or the reason why not."""

from __future__ import annotations

import stat
from pathlib import Path

from simdml.errors import DocumentError, Place
from simdml.resources import missing_file

LARGEST_BYTES = 1024 * 1024
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_text(path: Path) -> str:
    """Return the UTF-8 text of a file of at most 1 MiB.

    Raises:
        DocumentError: missing, a folder, too large, binary, not UTF-8, or not readable.
    """
    place = Place(str(path))
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise DocumentError("this is a folder, not a file", place=place)
        if not stat.S_ISREG(status.st_mode):
            raise DocumentError("this is not a regular file", place=place)
        if status.st_size > LARGEST_BYTES:
            size = f"{status.st_size / LARGEST_BYTES:.3g} MiB"
            message = f"the file is too large: {size}, where 1 MiB is the most"
            raise DocumentError(message, place=place, hint="is this the file you meant?")
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise missing_file(path) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DocumentError(f"the file cannot be read: {reason}", place=place) from None
    return _decode(content, place)


def _decode(content: bytes, place: Place) -> str:
    if content.startswith(_UTF16_MARKS):
        raise DocumentError("the file is UTF-16", place=place, hint="save it as UTF-8")
    if (nul := content.find(b"\0")) >= 0:
        message = f"this is a binary file, not text: byte {nul} is NUL"
        raise DocumentError(message, place=place, hint="a text file in UTF-8 is needed")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"this is not UTF-8 text: byte {error.start} (line {line}) is 0x{content[error.start]:02x}"
        raise DocumentError(message, place=place, hint="a text file in UTF-8 is needed") from None
