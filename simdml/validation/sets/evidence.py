"""What a table says of its own certainty: rows that repeat each other, rows on one line, and what is not stated."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from simdml.errors import SimdmlError
from simdml.validation.runs.reading import Row, Unusable
from simdml.validation.runs.replay import scenario_of

_OUTCOMES = (
    "id file source source_ref source_seen year speedup_vs_1 scaling_efficiency images_or_samples_per_s_total "
    "step_time_s derived_samples_per_s derived_step_time_s tokens_per_s_total tokens_per_s_per_gpu samples_per_s "
    "iter_time_s iter_time_s_derived derived_how tflops_per_gpu mfu hfu peak_mem_gb metric_status"
)
OUTCOMES: Final = frozenset(_OUTCOMES.split())
"""Columns that say what came out or where it stands, not what was run."""

LAYERS: Final = frozenset({"layers", "model", "params_b", "notes"})
"""Columns in which runs of one shape and several depths differ."""

ON_A_LINE: Final = 1e-5
"""Three depths or more whose times are so near a line in the number of layers, relatively, were not measured each."""

_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "llm": ("framework", "vocab", "seq_len", "micro_batch", "recompute", "sharding", "dtype", "inter_link"),
    "classic": ("framework", "batch_per_gpu", "dtype", "inter_link", "intra_link"),
    "collective": ("nccl_version", "link"),
}
_UNSURE: Final = re.compile(r"assum|not stated|from memory|recalled|implied|presumabl|not detailed|not in the", re.I)
_ELSEWHERE: Final = OUTCOMES | {"notes", "not_in_table", "sim_ready", "simulate_ready", "tflops_kind", "group"}
_SPOKEN_OF: Final[Mapping[str, str]] = {
    "micro_batch": r"micro.?batch|\bMBS\b",
    "global_batch_seqs": r"global batch|\bGBS\b|grad_accum",
    "recompute": r"recompute|checkpoint",
    "vocab": r"vocab",
    "dtype": r"dtype|\bbf16\b|\bfp16\b|\bfp32\b",
    "layout": r"layout|parallel config|\btp\b|\bpp\b",
    "inter_link": r"\bIB\b|InfiniBand|bandwidth|gpus_per_node",
    "seq_len": r"\bseq",
    "shape": r"shape|heads|layers",
}


def repeats(rows: Sequence[Row]) -> list[str]:
    """Return for every row the name of the group of rows that say the same of what was run; empty if it is alone."""
    return _groups(rows, lambda row: _said(row, OUTCOMES))


def alike(rows: Sequence[Row]) -> list[str]:
    """Return for every row the name of the group of measured rows of one scenario; empty if it is alone.

    A prediction is the same for all of them, so that it cannot be nearer to them than they are to each other.
    """
    return _groups(rows, _scenario)


def lines(rows: Sequence[Row]) -> list[str]:
    """Return for every row the name of the line in the number of layers that it lies on; empty if it is on none."""
    named = _groups(rows, lambda row: _said(row, OUTCOMES | LAYERS) if row.number("layers") else None)
    groups: dict[str, list[Row]] = defaultdict(list)
    for row, name in zip(rows, named, strict=True):
        groups[name].append(row)
    straight = {name for name, members in groups.items() if name and straightness(members) <= ON_A_LINE}
    return [name if name in straight else "" for name in named]


def straightness(rows: Sequence[Row]) -> float:
    """Return how far times are from their least-squares line in layers, at most, relatively; inf below three depths."""
    layers = np.array([row.number("layers") or 0.0 for row in rows])
    times = np.array([row.measured_s or 0.0 for row in rows])
    if len(set(layers)) < 3:
        return float("inf")
    fitted = np.polyval(np.polyfit(layers, times, 1), layers)
    return float(np.max(np.abs(fitted / times - 1)))


def apart(row: Row) -> float | None:
    """Return how much longer the slower of two measurements of a collective is, minus 1; None without two.

    nccl-tests runs every size out of place and in place: the same transfers, on the same machine, moments apart.
    """
    times = [time for column in ("oop_time_us", "ip_time_us") if (time := row.number(column))]
    return max(times) / min(times) - 1 if len(times) == 2 else None


def unstated(row: Row) -> list[str]:
    """Return the columns that a simulation needs and a source does not print, or that were assumed or recalled."""
    needed = [name for name in _NEEDED[row.family] if not row.text(name) and not _needless(row, name)]
    doubtful = [name for name, text in row.cells.items() if name not in _ELSEWHERE and _UNSURE.search(text)]
    return sorted({*needed, *doubtful, *_spoken_of(row.text("not_in_table"))})


def _needless(row: Row, column: str) -> bool:
    if column == "inter_link":
        return (row.number("num_gpus") or 1) <= (row.number("gpus_per_node") or 1)
    return column == "intra_link" and row.text("num_gpus") == "1"


def _spoken_of(text: str) -> set[str]:
    unsure = " ".join(part for part in re.split(r"[;,(]", text) if _UNSURE.search(part))
    return {column for column, pattern in _SPOKEN_OF.items() if re.search(pattern, unsure, re.I)}


def _said(row: Row, outcomes: frozenset[str]) -> Hashable:
    return tuple(sorted((name, text) for name, text in row.cells.items() if name not in outcomes))


def _scenario(row: Row) -> Hashable | None:
    try:
        scenario = scenario_of(row)
    except (Unusable, SimdmlError):
        return None
    return json.dumps(scenario | {"description": ""}, sort_keys=True, default=str)


def _groups(rows: Sequence[Row], key: Callable[[Row], Hashable | None]) -> list[str]:
    """Return the name of each row's group by ``key``, of measured rows; empty for those without, and those alone."""
    keys = [key(row) if row.measured_s else None for row in rows]
    return numbered(keys)


def numbered(keys: Iterable[Hashable | None]) -> list[str]:
    """Return numbers of groups of equal keys, empty for None and for keys that are there once."""
    keys = list(keys)
    members: dict[Hashable, int] = defaultdict(int)
    for key in keys:
        members[key] += 1
    names: dict[Hashable, str] = {}
    for key in keys:
        if key is not None and members[key] > 1:
            names.setdefault(key, str(len(names) + 1))
    return [names.get(key, "") for key in keys]
