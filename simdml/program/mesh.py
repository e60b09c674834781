"""Ranks on a mesh with named axes, and the groups communicators are made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Mesh:
    """Named axes with their sizes, fastest-varying first; rank = sum of coordinate times stride."""

    axes: tuple[tuple[str, int], ...]

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Size by axis name."""
        return dict(self.axes)

    @cached_property
    def strides(self) -> dict[str, int]:
        """Rank distance of neighbours along each axis."""
        strides, stride = {}, 1
        for name, size in self.axes:
            strides[name] = stride
            stride *= size
        return strides

    @cached_property
    def num_ranks(self) -> int:
        """Number of ranks."""
        return prod(size for _, size in self.axes)

    def size(self, axis: str) -> int:
        """Return the size of ``axis``, 1 if the mesh does not have it."""
        return self.sizes.get(axis, 1)

    def coordinate(self, rank: int, axis: str) -> int:
        """Return the coordinate of ``rank`` along ``axis``."""
        return rank // self.strides[axis] % self.sizes[axis] if axis in self.sizes else 0

    def coordinates(self, ranks: NDArray[np.int64], axis: str) -> NDArray[np.int64]:
        """Return :meth:`coordinate` of every one of ``ranks``."""
        if axis not in self.sizes:
            return np.zeros_like(ranks)
        return ranks // self.strides[axis] % self.sizes[axis]

    def neighbour(self, rank: int, axis: str, offset: int) -> int:
        """Return the rank ``offset`` places further along ``axis``, wrapping around."""
        here = self.coordinate(rank, axis)
        return rank + ((here + offset) % self.sizes[axis] - here) * self.strides[axis]

    def neighbours(self, ranks: NDArray[np.int64], axis: str, offset: int) -> NDArray[np.int64]:
        """Return :meth:`neighbour` of every one of ``ranks``."""
        here = self.coordinates(ranks, axis)
        return ranks + ((here + offset) % self.sizes[axis] - here) * self.strides[axis]


@dataclass(frozen=True, slots=True)
class Group:
    """A family of communicators: ranks that differ along ``axes`` alone.

    ``only`` restricts the members to some coordinates of one axis, as the embedding group of the first and last
    pipeline stage does. Every rank belongs to at most one communicator of a group.
    """

    name: str
    axes: tuple[str, ...]
    only: tuple[str, tuple[int, ...]] | None = None

    def communicators(self, mesh: Mesh) -> list[tuple[int, ...]]:
        """Return the members of every communicator, both in rank order."""
        return [tuple(members) for members in self.members(mesh).tolist()]

    def members(self, mesh: Mesh) -> NDArray[np.int64]:
        """Return the members of every communicator as rows, both in rank order."""
        offsets = _offsets([(mesh.strides[a], mesh.sizes[a]) for a in self.axes if a in mesh.sizes])
        bases = _offsets([(mesh.strides[a], mesh.sizes[a]) for a, _ in mesh.axes if a not in self.axes])
        if self.only is not None:
            axis, coordinates = self.only
            offsets = offsets[np.isin(offsets // mesh.strides[axis] % mesh.sizes[axis], coordinates)]
        return bases[:, np.newaxis] + offsets


def _offsets(dimensions: list[tuple[int, int]]) -> NDArray[np.int64]:
    """Return every sum of coordinate times stride, rising."""
    offsets = np.zeros(1, dtype=np.int64)
    for stride, size in dimensions:
        offsets = np.add.outer(offsets, stride * np.arange(size, dtype=np.int64)).ravel()
    offsets.sort()
    return offsets
