"""What a source does not print beside its numbers and says elsewhere: filled in once, named here, never by row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from simdml.validation.runs.reading import Row

_BYTESCHEDULER: Final = {
    # Peng et al., SOSP 2019, section 6.1 (recalled): 32 images a GPU of ResNet-50 and VGG-16, one server a worker.
    "batch_per_gpu": "32",
    "simulate_ready": "yes",
}
_ZERO_BUBBLE: Final = {
    # Qi et al., arXiv 2401.10241, table 3: the usual size with which all four printed parameter counts come out.
    "vocab": "32000",
}
_OMITTED: Final[tuple[tuple[str, str, Mapping[str, str]], ...]] = (
    (r"Zero Bubble", r"", _ZERO_BUBBLE),
    (r"bytescheduler/docs/mxnet_ps", r"resnet|vgg", _BYTESCHEDULER),
)
"""By source and model: what holds for all its rows."""


def completed(row: Row) -> Row:
    """Return ``row`` with what its source says elsewhere; the row itself where that is nothing."""
    for source, model, cells in _OMITTED:
        if re.search(source, row.source) and re.search(model, row.text("model").lower()):
            return replace(row, cells={**row.cells, **cells})
    return row
