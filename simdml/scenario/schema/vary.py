"""The ``vary`` section: what ``simdml sweep`` does with a scenario; its values are read there."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import WithJsonSchema

_VALUES = {
    "description": "Values of the scenario at this path: a list, or a range such as 10 Gbps .. 100 Gbps step 10 Gbps.",
    "anyOf": [{"type": "array", "minItems": 1}, {"type": "string", "pattern": r"\.\."}],
}
_TOGETHER = {
    "description": "Paths whose values go together, first with first, second with second.",
    "type": "object",
    "additionalProperties": _VALUES,
}
_SETTINGS = {"description": "A point: values by path.", "type": "object"}

Vary = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "minProperties": 1,
            "properties": {
                "zipped": {**_TOGETHER, "type": ["object", "array"], "items": _TOGETHER},
                "list": {"description": "Points one by one.", "type": "array", "items": _SETTINGS},
            },
            "additionalProperties": _VALUES,
            "examples": [{"cluster.nodes": [1, 2, 4], "training.batch_per_gpu": "32 .. 128 step 32"}],
        }
    ),
]
