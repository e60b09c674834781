"""Which gradients DistributedDataParallel reduces together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

FIRST_BUCKET_BYTES: Final = 1024 * 1024
DEFAULT_BUCKET_BYTES: Final = 25 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bucket:
    """Gradients reduced together: ``payload_bytes`` and the parameters, as indices in the order they get ready."""

    payload_bytes: int
    parameters: tuple[int, ...]


def assign_buckets(
    gradient_bytes: Sequence[int], cap_bytes: int | None = None, *, first_iteration: bool = False
) -> list[Bucket]:
    """Return the buckets of gradients given in the order they get ready, in launch order.

    A bucket closes when its size reaches its limit, so it may exceed it by one tensor. With the default cap the first
    bucket's limit is 1 MiB and the others' 25 MiB; an explicit cap holds for all. In the first iteration there is one
    bucket of everything: the order is not known yet, and nothing overlaps (torch/nn/parallel/distributed.py and
    c10d/reducer.cpp of torch 2.11; find_unused_parameters off).
    """
    if first_iteration:
        return [Bucket(sum(gradient_bytes), tuple(range(len(gradient_bytes))))] if gradient_bytes else []
    limit = FIRST_BUCKET_BYTES if cap_bytes is None else cap_bytes
    later = DEFAULT_BUCKET_BYTES if cap_bytes is None else cap_bytes
    buckets: list[Bucket] = []
    size, members = 0, []
    for index, nbytes in enumerate(gradient_bytes):
        size += nbytes
        members.append(index)
        if size >= limit:
            buckets.append(Bucket(size, tuple(members)))
            size, members, limit = 0, [], later
    if members:
        buckets.append(Bucket(size, tuple(members)))
    return buckets


def assign_registered_buckets(gradient_bytes: Sequence[int], cap_bytes: int | None = None) -> list[Bucket]:
    """Return the buckets, in launch order, of gradients given in the order they get ready.

    With find_unused_parameters and without a static graph, buckets are assigned over parameters as they are registered
    and then reversed, and never rebuilt: the small one holds the first layers and is reduced last (reducer.cpp).
    """
    last = len(gradient_bytes) - 1
    registered = assign_buckets(list(reversed(gradient_bytes)), cap_bytes)
    return [
        Bucket(bucket.payload_bytes, tuple(last - index for index in reversed(bucket.parameters)))
        for bucket in reversed(registered)
    ]
