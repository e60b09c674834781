"""What a published figure of peak memory counts, and in which unit: each with its source."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from simdml.validation.runs.reading import Row

_COLUMN: Final = "peak_mem_gb"


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """``unit_bytes`` is what the figure counts; ``tensors_alone`` whether it leaves out context and caches."""

    unit_bytes: float
    tensors_alone: bool


_READINGS: Final[tuple[tuple[str, MemoryReading], ...]] = (
    # nvidia-smi while training, in MiB over 1,024: rows reach 80 on GPUs that have 80 GiB
    # (bigscience-workshop/bigscience, experiments/gpt2-meg and train/tr11-176B-ml/chronicles-prequel.md).
    (r"bigscience", MemoryReading(2.0**30, tensors_alone=False)),
    # "mem-max-allocated-bytes" of torch.cuda.memory_stats (megatron/training/training.py).
    (r"functional-test golden values", MemoryReading(1e9, tensors_alone=True)),
    # torch.cuda.max_memory_allocated, as far as recalled (sail-sg/zero-bubble-pipeline-parallelism).
    (r"zero bubble", MemoryReading(1e9, tensors_alone=True)),
)
_PLAIN: Final = MemoryReading(1e9, tensors_alone=False)
"""A figure in GB of which nothing is said is taken as what the process holds on its device."""


def memory_reading_of(row: Row) -> MemoryReading:
    """Return how the memory figures of a row's source are read."""
    source = row.source.lower()
    return next((reading for pattern, reading in _READINGS if re.search(pattern, source)), _PLAIN)


def measured_memory_bytes(row: Row) -> float | None:
    """Return the peak memory that a row states, in bytes; None if it states none."""
    stated = row.number(_COLUMN)
    return None if not stated else stated * memory_reading_of(row).unit_bytes
