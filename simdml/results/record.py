"""Records: results and studies as JSON files that say what they are and how they are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from simdml import __version__

RECORD: Final = "record"
FORMAT: Final = "format"
VERSION: Final = "simdml_version"
CURRENT_FORMAT: Final = 1
"""Goes up when a key of a record changes its meaning or goes away; new keys leave it as it is."""


def record(kind: str, data: Mapping[str, Any], *, version: str = __version__) -> dict[str, Any]:
    """Return ``data`` with what it is a record of, its format, and the version of simdml that made it."""
    return {RECORD: kind, FORMAT: CURRENT_FORMAT, VERSION: version, **data}
