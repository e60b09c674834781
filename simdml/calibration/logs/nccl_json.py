"""The JSON that nccl-tests write with ``-J`` (since October 2025): booleans are the texts "true" and "false"."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from simdml.calibration.logs.collective_log import CollectiveLog, CollectiveRow
from simdml.calibration.logs.nccl_tests import PROGRAMS
from simdml.errors import DocumentError, Place

EXPECTED = "the JSON of an nccl-tests program: an object with results, each with size, type and out_of_place"


def parse_json(text: str, name: str) -> Any:
    """Return the value in ``text``; raises DocumentError with line and column."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = Place(name, error.lineno, error.colno, source_line=(text.splitlines() or [""])[error.lineno - 1])
        raise DocumentError(f"this is not JSON: {error.msg}", place=place, hint="is the file complete?") from None


def parse_nccl_json(text: str, name: str) -> CollectiveLog:
    """Return the rows of a JSON log.

    Raises:
        DocumentError: the text is not JSON, or not that of nccl-tests.
    """
    data = parse_json(text, name)
    results = data.get("results") if isinstance(data, dict) else None
    if not isinstance(results, list) or not results:
        raise DocumentError("there are no results in this file", place=Place(name), hint=f"expected {EXPECTED}")
    devices = _mappings(_mapping(data.get("config")).get("devices"))
    args = str(data.get("args", ""))
    program = next((word for word in PROGRAMS if f"{word}_perf" in args), "")
    return CollectiveLog(
        source=name,
        library="nccl",
        collective=program or _guess(results),
        rows=tuple(_row(result, index, name) for index, result in enumerate(results)),
        ranks=len({device.get("rank") for device in devices}),
        nodes=len({device.get("hostname") for device in devices}),
        version=str(data.get("nccl_version", "")).partition("+")[0],
        device=str(devices[0].get("device_info", "")) if devices else "",
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _row(result: Any, index: int, name: str) -> CollectiveRow:
    try:
        out_of_place_s, in_place_s = (_seconds(result.get(group)) for group in ("out_of_place", "in_place"))
        return CollectiveRow(int(result["size"]), str(result["type"]), out_of_place_s, in_place_s)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        place = Place(name, path=("results", index))
        raise DocumentError(f"this result is damaged: {error}", place=place, hint=f"expected {EXPECTED}") from None


def _seconds(group: Any) -> float:
    """Microseconds under "time", or "cpu_time" with ``-C``."""
    if group is None:
        return 0.0
    return 1e-6 * float(group["time"] if "time" in group else group["cpu_time"])


def _guess(results: list[Any]) -> str:
    redop = str(_mapping(results[0]).get("redop", "none"))
    return "all_reduce" if redop != "none" else "broadcast"
