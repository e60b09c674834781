"""A record read back: JSON that ``--json`` printed or ``--out`` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from simdml.errors import DocumentError, Place, UnknownNameError, listed, quoted
from simdml.resources import missing_file
from simdml.results.record import CURRENT_FORMAT, FORMAT, RECORD, VERSION
from simdml.studies.report.kinds import KINDS

_HINT: Final = "give a file that simdml wrote with --json or --out, or a scenario"


def is_record(source: str) -> bool:
    """Whether ``source`` names a record: a folder, or a file whose name ends with .json."""
    return Path(source).suffix == ".json" or Path(source).is_dir()


def read_record(source: str) -> tuple[Path, dict[str, Any]]:
    """Return the record at ``source``, a file or a folder with one, and the file it was in.

    Raises:
        DocumentError: there is none, it cannot be read, is no record, or is written in another format.
        UnknownNameError: a record of a kind that is not known here.
    """
    path = _file(Path(source))
    data = _json(path)
    if not isinstance(data, dict) or RECORD not in data or FORMAT not in data:
        made_by = data.get(VERSION) if isinstance(data, dict) else None
        was = f", though simdml {made_by} wrote it" if made_by else ""
        raise DocumentError(f"the file does not say what it is a record of{was}", place=Place(str(path)), hint=_HINT)
    if data[FORMAT] != CURRENT_FORMAT:
        raise DocumentError(
            f"the record has format {quoted(data[FORMAT])}; this simdml reads format {CURRENT_FORMAT}",
            place=Place(str(path)),
            hint=f"make the report with the simdml that wrote it ({quoted(data.get(VERSION))}), or run the study again",
        )
    if data[RECORD] not in KINDS:
        raise UnknownNameError("kind of record", str(data[RECORD]), KINDS, place=Place(str(path)))
    return path, data


def _file(path: Path) -> Path:
    if not path.is_dir():
        return path
    names = [f"{kind}.json" for kind in KINDS]
    found = [path / name for name in names if (path / name).is_file()]
    if not found:
        raise DocumentError(f"the folder has no record: {listed(names)}", place=Place(str(path)), hint=_HINT)
    if len(found) > 1:
        hint = f"name one: {listed(map(str, found))}"
        raise DocumentError("the folder has several records", place=Place(str(path)), hint=hint)
    return found[0]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise missing_file(path) from None
    except OSError as error:
        raise DocumentError(f"cannot read it: {error.strerror}", place=Place(str(path))) from None
    except (ValueError, RecursionError) as error:
        place = Place(str(path))
        if isinstance(error, json.JSONDecodeError):
            place = Place(str(path), error.lineno, error.colno)
        raise DocumentError("the file is no JSON", place=place, hint=_HINT) from None
