"""Rows of torchgpipe's benchmarks into scenarios: partitions in layers, micro-batches, recomputation.

Layers are those of torchgpipe's flattened networks (kakaobrain/torchgpipe, benchmarks/models): simdml's blocks are
larger, so that a partition begins at the block nearest to where theirs does.
"""

from __future__ import annotations

import re
from itertools import accumulate
from math import ceil
from typing import Any, Final

from simdml.validation.runs.reading import Row, Unusable

_BALANCE: Final = re.compile(r"balance \(layers per partition\) \[([\d, ]+)\]")
_CHECKPOINT: Final = re.compile(r"checkpoint=(\w+)")
_RECOMPUTE: Final = {"always": "stage", "except_last": "stage_except_last", "never": "none", "none": "none"}
_LAYERS: Final[dict[str, tuple[int, ...]]] = {
    # conv, bn, relu, pool; 33 bottlenecks of identity, 3 conv, 3 bn, 2 relu, residual, relu; pool, flatten, fc
    "resnet101": (4, *[11] * 33, 3),
    # conv, dropout, bn, relu of 5 levels down, a bottleneck and 5 levels up; a level after the first begins with
    # stash and pool, or upsampling and concatenation
    "unet": (*[4] * 5, *[6, 4, 4, 4, 4] * 10, 1),
    "amoebanet_d": (1,) * 24,
}
"""Layers in each of simdml's blocks."""
_ABLATIONS: Final = re.compile(r"experiment (baseline|dep-x-x|dep-str-x);.*ablation")


def is_pipeline(row: Row) -> bool:
    """Return whether a row is one of torchgpipe's pipelines, or what they are compared with."""
    return row.has("framework", "torchgpipe") and not row.has("strategy", "dataparallel")


def batch_of(row: Row) -> int:
    """Return the images of a step on all partitions: torch.chunk's whole micro-batches, the rest left out."""
    batch = row.count("global_batch")
    return batch // microbatch_of(row) * microbatch_of(row)


def microbatch_of(row: Row) -> int:
    """Return the images of a micro-batch, as torch.chunk cuts them."""
    return ceil(row.count("global_batch") / row.count("micro_batches", 1))


def pipeline_training(row: Row) -> dict[str, Any]:
    """Return the ``training`` of a row: plain SGD, eager kernels, the recomputation that its notes say."""
    checkpoint = _CHECKPOINT.search(row.text("notes"))
    recompute = _RECOMPUTE.get(checkpoint[1] if checkpoint else "except_last", "stage_except_last")
    training = {"precision": "fp32", "optimizer": "sgd", "kernels": "eager", "recompute": recompute}
    return training | {"global_batch": batch_of(row), "microbatch": microbatch_of(row)}


def pipeline_strategy(row: Row, model: str) -> dict[str, Any] | str:
    """Return the ``strategy`` of a row: GPipe in the partitions its notes say; raises Unusable."""
    if _ABLATIONS.search(row.text("notes")):
        raise Unusable("a part of torchgpipe's runtime is switched off (order of backward, streams or portals)")
    partitions = row.count("pipeline_partitions", 1)
    if partitions == 1:
        return "ddp"
    balance = _BALANCE.search(row.text("notes"))
    pipeline: dict[str, Any] = {"schedule": "gpipe", "microbatch": microbatch_of(row)}
    if balance:
        layers = [int(number) for number in balance[1].split(",")]
        pipeline["balance"] = _begins(layers, _LAYERS[model])
    return {"mesh": {"pp": partitions}, "pipeline": pipeline}


def _begins(layers: list[int], blocks: tuple[int, ...]) -> list[int]:
    """Return the block at which each partition begins, the nearest to its first layer."""
    firsts = [0, *accumulate(blocks)]
    return [min(range(len(firsts)), key=lambda block: abs(firsts[block] - at)) for at in (0, *accumulate(layers[:-1]))]
