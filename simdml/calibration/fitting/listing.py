"""Named fits and profiles as rows of coefficients, for tables and comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simdml.documents.loading import load_document
from simdml.errors import DocumentError, Place, UnknownNameError
from simdml.resources import available, find

_FOLDERS = ("profiles/", "communication/")


@dataclass(frozen=True, slots=True)
class CoefficientRow:
    """A number of a file: its dotted ``path``, its text, its mark ("measured") and its source, if it has them."""

    path: str
    value: str
    mark: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class FitListing:
    """A file: ``kind`` is "profile" or "communication fit"; ``about`` are its other entries, by key."""

    name: str
    path: Path
    kind: str
    rows: tuple[CoefficientRow, ...]
    about: Mapping[str, str]


def list_fit(name: str) -> FitListing:
    """Return the coefficients of a bundled profile or communication fit, or of a file.

    Raises:
        UnknownNameError: neither a file nor bundled.
        DocumentError: the file is neither a profile nor a fit.
    """
    path = _find(name)
    data = load_document(path).data
    if "fit" in data:
        fit = data["fit"]
        provenance = fit.get("provenance", {})
        mark = "measured" if provenance.get("rows") else ""
        coefficients = {key: value for key, value in fit.items() if key not in ("provenance", "library")}
        rows = tuple(CoefficientRow(key, value, mark, "") for key, value in _flat(coefficients).items())
        return FitListing(path.stem, path, "communication fit", rows, {"library": fit["library"]} | _flat(provenance))
    if "matmul" not in data:
        place = Place(str(path))
        raise DocumentError("this is neither a profile nor a communication fit", place=place)
    rows = tuple(_numbers(data, ()))
    about = {key: data[key] for key in ("devices", "software", "date", "sources", "does_not_claim") if key in data}
    return FitListing(path.stem, path, "profile", rows, _flat(about))


def _find(name: str) -> Path:
    if Path(name).is_file() or name.endswith((".yaml", ".yml")):
        return find("calibrate", name)
    known = {
        entry.removeprefix(folder): entry
        for entry in available("calibrate")
        for folder in _FOLDERS
        if entry.startswith(folder)
    }
    if name not in known:
        raise UnknownNameError("profile or communication fit", name, sorted(known))
    return find("calibrate", known[name])


def _numbers(data: Any, path: tuple[str, ...]) -> Iterator[CoefficientRow]:
    """Yield every mapping with a value and a mark."""
    if isinstance(data, dict) and "value" in data and "mark" in data:
        yield CoefficientRow(".".join(path), f"{data['value']:.4g}", data["mark"], data.get("source", ""))
    elif isinstance(data, dict):
        for key, inner in data.items():
            yield from _numbers(inner, (*path, str(key)))
    elif isinstance(data, list):
        for index, inner in enumerate(data):
            yield from _numbers(inner, (*path, str(index)))


def _flat(data: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            found |= {f"{key}.{inner}": str(text) for inner, text in value.items()}
        elif isinstance(value, list):
            found[key] = "; ".join(map(str, value))
        else:
            found[key] = str(value)
    return found


def compare(first: FitListing, second: FitListing) -> list[tuple[str, str, str, str]]:
    """Return (path, value, other value, how they differ) for every coefficient of either, in the first's order."""
    ones, others = ({row.path: row for row in listing.rows} for listing in (first, second))
    found = []
    for path in dict.fromkeys((*ones, *others)):
        a, b = ones.get(path), others.get(path)
        found.append((path, a.value if a else "", b.value if b else "", _difference(a, b)))
    return found


def _difference(first: CoefficientRow | None, second: CoefficientRow | None) -> str:
    if first is None or second is None:
        return "only one has it"
    try:
        one, other = (float(row.value.split()[0]) for row in (first, second))
    except ValueError:
        return "" if first.value == second.value else "differs"
    same_unit = first.value.split()[1:] == second.value.split()[1:]
    if one == other and same_unit:
        return ""
    return f"{other / one - 1:+.1%}" if one and same_unit else "differs"
