"""A scenario as the text of a file."""

from __future__ import annotations

from typing import Any

from simdml.documents.document import Document
from simdml.reporting.report import Listing
from simdml.scenario.schema.scenario import ScenarioSpec

_WIDEST = 96


def scenario_listing(document: Document) -> Listing:
    """Return the file that says the same as ``document``, without comments, its sections in the order of the format."""
    order = list(ScenarioSpec.model_fields)
    keys = sorted(document.data, key=lambda key: order.index(key) if key in order else len(order))
    lines = [line for key in keys for line in _lines(key, document.data[key], "")]
    return Listing("Save it as a file, and simdml run FILE predicts the same", "\n".join(lines) + "\n")


def _lines(key: str, value: Any, indent: str) -> list[str]:
    short = f"{indent}{key}: {_flow(value)}"
    if len(short) <= _WIDEST or not isinstance(value, dict | list) or not value:
        return [short]
    if isinstance(value, list):
        return [f"{indent}{key}:", *(f"{indent}  - {_flow(item)}" for item in value)]
    inner = [line for name, item in value.items() for line in _lines(str(name), item, indent + "  ")]
    return [f"{indent}{key}:", *inner]


def _flow(value: Any) -> str:
    """Return ``value`` on one line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    return _quoted(value) if isinstance(value, str) else str(value)


def _quoted(text: str) -> str:
    # yaml is loaded where it is needed.
    import yaml

    plain = text and not set(text) & set("{}[],#:&*!|>'\"%@`\n\\") and text == text.strip()
    if plain and isinstance(yaml.safe_load(text), str):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
