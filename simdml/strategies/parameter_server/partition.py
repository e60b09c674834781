"""How a tensor is cut before its pieces are placed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final, Literal

PartitionName = Literal["whole", "fixed", "min_size", "max_size", "slices"]


@dataclass(frozen=True, slots=True)
class Partition:
    """A rule of cutting by name, with its size in bytes and its number of pieces, as far as it has them."""

    name: PartitionName = "whole"
    size_bytes: float = 0.0
    pieces: int = 1

    def cut(self, nbytes: int) -> list[float]:
        """Return the bytes of the pieces of a tensor of ``nbytes``."""
        return PARTITIONS[self.name](nbytes, self)


WHOLE: Final = Partition()


def _whole(nbytes: int, partition: Partition) -> list[float]:
    """Keep it in one piece."""
    del partition
    return [float(nbytes)]


def _fixed(nbytes: int, partition: Partition) -> list[float]:
    """Cut into a number of equal pieces (TensorFlow's fixed_size_partitioner, FixedShardsPartitioner)."""
    return _equal(nbytes, partition.pieces)


def _min_size(nbytes: int, partition: Partition) -> list[float]:
    """Cut into as many equal pieces of at least the size as the number allows.

    TensorFlow's min_max_variable_partitioner and MinSizePartitioner (256 KiB a piece by default).
    """
    return _equal(nbytes, max(1, min(partition.pieces, int(nbytes // partition.size_bytes))))


def _max_size(nbytes: int, partition: Partition) -> list[float]:
    """Cut into equal pieces of at most the size.

    TensorFlow's variable_axis_size_partitioner (64 MiB a piece by default) and MaxSizePartitioner.
    """
    return _equal(nbytes, ceil(nbytes / partition.size_bytes))


def _slices(nbytes: int, partition: Partition) -> list[float]:
    """Cut into pieces of exactly the size and what is left.

    BytePS's partitions (byteps/common/operations.cc) and P3's slices (apache/mxnet, src/kvstore/p3store_dist.h).
    """
    count = ceil(nbytes / partition.size_bytes)
    return [partition.size_bytes] * (count - 1) + [nbytes - partition.size_bytes * (count - 1)]


def _equal(nbytes: int, pieces: int) -> list[float]:
    return [nbytes / pieces] * pieces


PARTITIONS: Mapping[str, Callable[[int, Partition], list[float]]] = {
    "whole": _whole,
    "fixed": _fixed,
    "min_size": _min_size,
    "max_size": _max_size,
    "slices": _slices,
}
