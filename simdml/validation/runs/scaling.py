"""Runs that differ in the number of GPUs alone: how throughput scales, as measured and as predicted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from simdml.validation.runs.reading import Row
from simdml.validation.runs.replay import Replayed

FEWEST: Final = 3
"""Numbers of GPUs in a group at least."""
_SAME: Final = {
    "llm": (
        *("gpu", "framework", "year", "model", "layers", "hidden", "heads", "kv_heads", "ffn", "vocab", "seq_len"),
        *("micro_batch", "dtype", "tp", "pp", "vpp", "cp", "ep", "sharding", "recompute", "seq_parallel", "schedule"),
        *("inter_link", "offload"),
    ),
    "classic": (
        *("gpu", "framework", "strategy", "model", "input", "data", "batch_per_gpu", "dtype", "seq_len", "grad_accum"),
        "inter_link",
    ),
}


@dataclass(frozen=True, slots=True)
class ScalingPoint:
    """Samples a second of one GPU when there are ``gpus`` of them; the mean where several runs are alike."""

    gpus: int
    measured: float
    predicted: float


@dataclass(frozen=True, slots=True)
class ScalingGroup:
    """Runs of one job on several numbers of GPUs; ``weak`` says that the batch grows with them."""

    model: str
    gpu: str
    source: str
    weak: bool
    points: tuple[ScalingPoint, ...]

    @property
    def span(self) -> float:
        """The most GPUs over the fewest."""
        return self.points[-1].gpus / self.points[0].gpus


def scaling_groups(replayed: Iterable[Replayed]) -> list[ScalingGroup]:
    """Return groups of ``FEWEST`` or more numbers of GPUs with one batch, or one batch a GPU, the widest first."""
    groups: dict[tuple[str, ...], list[Replayed]] = defaultdict(list)
    for each in replayed:
        if each.error is not None and (batch := global_batch(each.row)):
            gpus = each.row.count("num_gpus")
            same = (each.row.source, *(each.row.text(column) for column in _SAME[each.row.family]))
            groups["weak", f"{batch / gpus:g}", *same].append(each)
            groups["strong", f"{batch:g}", *same].append(each)
    found = [_group(key[0] == "weak", members) for key, members in groups.items()]
    kept = [group for group in found if len(group.points) >= FEWEST]
    return sorted(kept, key=lambda group: (-group.span, -len(group.points), group.source, group.model))


def global_batch(row: Row) -> float | None:
    """Return the samples of a step; None where a row does not say, and for collectives."""
    if row.family == "llm":
        return row.number("global_batch_seqs")
    batch, gpus = row.number("batch_per_gpu"), row.number("num_gpus")
    if row.family != "classic" or not batch or not gpus:
        return None
    return batch * gpus * (row.number("grad_accum") or 1)


def _group(weak: bool, members: list[Replayed]) -> ScalingGroup:
    row = members[0].row
    by_gpus: dict[int, list[Replayed]] = defaultdict(list)
    for each in members:
        by_gpus[each.row.count("num_gpus")].append(each)
    points = tuple(_point(gpus, alike) for gpus, alike in sorted(by_gpus.items()))
    return ScalingGroup(row.text("model"), row.text("gpu"), row.source, weak, points)


def _point(gpus: int, alike: list[Replayed]) -> ScalingPoint:
    measured = [(global_batch(each.row) or 0.0) / gpus / (each.row.measured_s or 1.0) for each in alike]
    predicted = [rate / (1.0 + (each.error or 0.0)) for rate, each in zip(measured, alike, strict=True)]
    return ScalingPoint(gpus, fmean(measured), fmean(predicted))
