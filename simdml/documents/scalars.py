"""Plain scalars by the YAML 1.2 core schema (https://yaml.org/spec/1.2.2/, section 10.3.2).

Unlike YAML 1.1: ``yes``, ``no``, ``on`` and ``off`` are text, ``12:30`` is text, ``017`` is seventeen, ``1e3`` is
a number. Not-a-number and infinity are refused, in YAML's spelling and in Python's.
"""

from __future__ import annotations

import math
import re

Scalar = None | bool | int | float | str

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+", re.ASCII)
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.?(nan|inf|infinity)", re.IGNORECASE)
_LONGEST_INTEGER = 40


class ScalarError(ValueError):
    """A plain scalar that looks like a number and is not one simdml accepts."""


def plain_scalar(text: str) -> Scalar:
    """Return the value of an unquoted scalar.

    Raises:
        ScalarError: not-a-number, infinity, or a number too large.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _NOT_FINITE.fullmatch(text):
        raise ScalarError(f"{text} is not a finite number")
    for pattern, base in ((_INTEGER, 10), (_OCTAL, 8), (_HEXADECIMAL, 16)):
        if pattern.fullmatch(text):
            if len(text) > _LONGEST_INTEGER:
                raise ScalarError("the number has too many digits")
            return int(text, base)
    if not _FLOAT.fullmatch(text):
        return text
    value = float(text)
    if not math.isfinite(value):
        raise ScalarError(f"{text} is too large for a number")
    return value
