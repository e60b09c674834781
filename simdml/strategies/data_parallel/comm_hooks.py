"""What DDP's communication hooks do to a bucket instead of its all-reduce.

The sources are default_hooks.py and powerSGD_hook.py of torch/distributed/algorithms/ddp_comm_hooks, torch 2.13, and
Vogels et al., "PowerSGD", NeurIPS 2019 (arXiv 1905.13727). PowerSGD is past its first iterations, which all-reduce.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt

from simdml.program.instructions import Activity, Collective, CollectiveKind, Compute, Instruction
from simdml.strategies.data_parallel.gathering import copy
from simdml.strategies.job import DataParallelPlan
from simdml.workload.operators import Family, Phase, memory_bound


@dataclass(frozen=True, slots=True)
class Gradient:
    """A gradient: its elements, and the first dimension of the matrix it is, 0 for a vector."""

    elements: int
    rows: int

    @property
    def columns(self) -> int:
        """The other dimensions together."""
        return self.elements // self.rows if self.rows else 0


@dataclass(frozen=True, slots=True)
class Hooked:
    """A bucket's reduction: what the compute stream does first, and what then runs on the communication stream."""

    before: tuple[Instruction, ...]
    reduction: tuple[Instruction, ...]


def hooked(
    plan: DataParallelPlan, label: str, gradients: Sequence[Gradient], gradient_bytes: int, group: str
) -> Hooked:
    """Return the reduction of a bucket of ``gradients`` over ``group`` under the plan's hook."""
    elements = sum(gradient.elements for gradient in gradients)
    match plan.comm_hook:
        case "fp16_compress" | "bf16_compress":
            return _compressed(label, elements, gradient_bytes, group)
        case "powersgd":
            return _powersgd(plan, label, gradients, gradient_bytes, group)
        case "batched_powersgd":
            side = ceil(sqrt(elements))
            square = [Gradient(side * side, side)]
            return _factored(label, square, 0, min(side, plan.powersgd_rank), (elements, gradient_bytes), group)
        case _:
            return Hooked((), (_all_reduce(label, elements * gradient_bytes, group),))


def compresses(gradient: Gradient, rank: int, min_compression_rate: float) -> bool:
    """Say whether PowerSGD compresses a gradient: (n + m) r x min_compression_rate < n m (_should_compress)."""
    n, m = gradient.rows, gradient.columns
    return bool(n) and (n + m) * min(n, m, rank) * min_compression_rate < n * m


def _all_reduce(label: str, payload_bytes: float, group: str) -> Collective:
    return Collective(label, CollectiveKind.ALL_REDUCE, group, float(payload_bytes))


def _compressed(label: str, elements: int, gradient_bytes: int, group: str) -> Hooked:
    """Convert to two bytes and divide, all-reduce, convert back (_compress_hook)."""
    half, whole = 2 * elements, gradient_bytes * elements
    reduction = (_all_reduce(label, half, group), copy("decompressed bucket", half, whole))
    return Hooked((copy("compressed bucket", whole, half),), reduction)


def _powersgd(
    plan: DataParallelPlan, label: str, gradients: Sequence[Gradient], gradient_bytes: int, group: str
) -> Hooked:
    rank, rate = plan.powersgd_rank, plan.powersgd_min_compression_rate
    matrices = [gradient for gradient in gradients if compresses(gradient, rank, rate)]
    elements = sum(gradient.elements for gradient in gradients)
    plain = elements - sum(matrix.elements for matrix in matrices)
    return _factored(label, matrices, plain, rank, (elements, gradient_bytes), group)


def _factored(
    label: str, matrices: Sequence[Gradient], plain: int, rank: int, bucket: tuple[int, int], group: str
) -> Hooked:
    """Error feedback, P = M Q, all-reduces of what is not compressed and of P, Q = M^T P, its all-reduce, P Q^T.

    Three all-reduces one after the other, of ``plain`` elements, n r and m r for every matrix; ``bucket`` is its
    elements and bytes an element.
    """
    elements, size = bucket
    whole = float(elements * size)
    ps = sum(matrix.rows * min(rank, matrix.rows, matrix.columns) for matrix in matrices)
    qs = sum(matrix.columns * min(rank, matrix.rows, matrix.columns) for matrix in matrices)
    before = [copy("error fed back", 2 * whole, whole), copy("bucket to compare with", whole, whole)]
    if plain:
        before.append(copy("uncompressed gradients", float(plain * size), float(plain * size)))
    if matrices:
        before.append(_orthogonal("Q", qs, rank, len(matrices), size))
        before.append(_products("P", [(m.rows, min(rank, m.columns, m.rows), m.columns) for m in matrices], size))
    reduction: list[Instruction] = []
    if plain:
        reduction.append(_all_reduce(f"{label}, uncompressed", plain * size, group))
        reduction.append(copy("uncompressed gradients", float(plain * size), float(plain * size)))
    if matrices:
        reduction += [
            _all_reduce(f"{label}, P", ps * size, group),
            _orthogonal("P", ps, rank, len(matrices), size),
            _products("Q", [(m.columns, min(rank, m.columns, m.rows), m.rows) for m in matrices], size),
            _all_reduce(f"{label}, Q", qs * size, group),
            _products("P Q^T", [(m.rows, m.columns, min(rank, m.columns, m.rows)) for m in matrices], size),
        ]
    reduction.append(copy("error of compression", 2 * whole, whole))
    return Hooked(tuple(before), tuple(reduction))


def _products(name: str, shapes: Sequence[tuple[int, int, int]], size: int) -> Compute:
    """Return a product of each matrix with a few columns, whose time is that of reading and writing it."""
    operators = (
        memory_bound(
            name,
            Family.COPY,
            read_bytes=float(size * (m * k + k * n)),
            written_bytes=float(size * m * n),
            element_bytes=size,
            phase=Phase.UPDATE,
        )
        for m, n, k in shapes
    )
    return Compute(name, Activity.CAST, tuple(operators))


def _orthogonal(name: str, elements: int, rank: int, matrices: int, size: int) -> Compute:
    """Return Gram-Schmidt of every matrix: a norm, a division and two kernels for each further column."""
    operator = memory_bound(
        f"{name} orthogonal",
        Family.COPY,
        read_bytes=3.0 * size * elements,
        written_bytes=2.0 * size * elements,
        element_bytes=size,
        phase=Phase.UPDATE,
        launches=matrices * (2 * rank + 3 * (rank - 1)),
    )
    return Compute(f"{name} orthogonal", Activity.CAST, (operator,))
