"""Megatron-LM tensor parallelism: every operator's part on one rank, and the all-reduces of partial sums.

An operator whose contraction is split leaves a partial sum of its whole output, which is all-reduced before anything
else runs: twice in the forward and twice in the backward of a transformer layer (Shoeybi et al., arXiv 1909.08053,
section 3). Collectives stand in the compute stream, as they block it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simdml.errors import InfeasibleError
from simdml.program.instructions import Collective, CollectiveKind
from simdml.strategies.pieces import Piece, Together
from simdml.workload.model import Layer, Model
from simdml.workload.operators import Family, Operator, Phase, Split, divide

GROUP = "tp"
PRODUCTS = (Family.MATMUL, Family.BATCHED_MATMUL)
BY_COLUMNS = {Phase.FORWARD: Split.N, Phase.INPUT_GRADIENT: Split.K, Phase.WEIGHT_GRADIENT: Split.N}
"""How the three products of a layer cut by columns are split."""


def pieces(label: str, operators: Sequence[Operator], ways: int, *, asynchronous: bool = False) -> Iterator[Piece]:
    """Yield one rank's part of ``operators``, with the all-reduces that tensor parallelism needs between them.

    ``asynchronous`` sums an input gradient beside the weight gradient that follows it (Megatron-LM since 2022:
    megatron/core/tensor_parallel/layers.py, LinearWithGradAccumulationAndAsyncCommunication).
    """
    owed: Collective | None = None
    for position, operator in enumerate(operators):
        part = divide(operator, ways)
        if owed is not None and by_columns(operator, Phase.WEIGHT_GRADIENT):
            yield Together((part,), owed)
            owed = None
            continue
        yield part
        if ways == 1 or not operator.leaves_partial_sum:
            continue
        total = Collective(label, CollectiveKind.ALL_REDUCE, GROUP, operator.written_bytes)
        later = asynchronous and operator.phase is Phase.INPUT_GRADIENT
        if later and any(by_columns(each, Phase.WEIGHT_GRADIENT) for each in operators[position + 1 :]):
            owed = total
        else:
            yield total


def by_columns(operator: Operator, phase: Phase) -> bool:
    """Whether ``operator`` is that product of a layer cut by columns."""
    return operator.family in PRODUCTS and operator.phase is phase and operator.split is BY_COLUMNS[phase]


def parameters_on_rank(layer: Layer, ways: int, ep: int = 1) -> list[int]:
    """Return the elements of each parameter of ``layer`` held by one rank, in registration order.

    Those of experts lie on ``ep`` ranks as well.
    """
    experts = ep if layer.experts else 1
    return [p.elements // experts // ways if p.split else p.elements // experts for p in layer.parameters]


def check_divisible(model: Model, ways: int) -> None:
    """Refuse degrees that do not divide what is split.

    Raises:
        InfeasibleError: naming the first operator or parameter that ``ways`` does not divide.
    """
    if ways == 1:
        return
    for block in model.distinct_blocks:
        for layer in block.layers:
            for operator in (*layer.forward, *layer.backward):
                size = _split_size(operator)
                if size % ways:
                    raise InfeasibleError(
                        f"tp {ways} does not divide {operator.name} of {block.name}: "
                        f"its {operator.split} dimension is {size}",
                        hint="heads, KV heads, MLP size and (padded) vocabulary must all be multiples of tp",
                    )


def _split_size(operator: Operator) -> int:
    if operator.split is None or not operator.shape:
        return 0
    if len(operator.shape) == 3:
        return operator.shape[(Split.M, Split.N, Split.K).index(operator.split)]
    return operator.shape[0] if len(operator.shape) == 4 else operator.shape[1]
