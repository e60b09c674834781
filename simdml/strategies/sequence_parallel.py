"""Megatron-LM sequence parallelism: what tensor parallelism leaves whole is divided over the sequence.

Norms, dropouts and residuals run on 1/tp of the tokens. An all-gather before every product cut by columns and a
reduce-scatter after every product cut by rows take the place of the all-reduces, with the same bytes; backward gathers
the input of a product cut by columns once more for its weight gradient, while its input gradient is computed, and
scatters the sum of that while the weight gradient is (Korthikanti et al., arXiv 2205.05198, section 4.2;
NVIDIA/Megatron-LM:megatron/core/tensor_parallel/layers.py, LinearWithGradAccumulationAndAsyncCommunication).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from simdml.program.instructions import PEER_COPIES, Collective, CollectiveKind
from simdml.strategies.pieces import Piece, Together
from simdml.strategies.tensor_parallel import BY_COLUMNS, GROUP, PRODUCTS, by_columns
from simdml.workload.model import Layer
from simdml.workload.operators import Family, Operator, Phase, Split, divide


def pieces(label: str, layer: Layer, operators: Sequence[Operator], ways: int, *, overlap: bool) -> Iterator[Piece]:
    """Yield one rank's part of ``operators`` of ``layer``; with ``overlap`` parts move while products run on others."""
    lookup = next((o for o in layer.forward if o.family not in PRODUCTS and o.split is Split.K), None)
    if lookup is not None and operators and operators[0].phase is not Phase.FORWARD:
        yield _gather(label, lookup.written_bytes)
    owed: Collective | None = None
    for position, operator in enumerate(operators):
        part = _part(operator, ways, whole=lookup is not None and operator.family is Family.EMBEDDING)
        if operator.family not in PRODUCTS or operator.split in {None, Split.BATCH}:
            yield part
            if operator is lookup:
                yield _scatter(label, operator.written_bytes)
        elif operator.phase is Phase.WEIGHT_GRADIENT:
            if operator.split is BY_COLUMNS[operator.phase]:
                yield from _last_of_columns(label, operator, part, owed)
                owed = None
            else:
                yield part
        elif operator.split is BY_COLUMNS[operator.phase] and operator.phase is Phase.INPUT_GRADIENT:
            scatter = _scatter(label, operator.written_bytes)
            weights = next((o for o in operators[position + 1 :] if by_columns(o, Phase.WEIGHT_GRADIENT)), None)
            if weights is None:
                yield from (part, scatter)
            else:
                yield Together((part,), _gather(label, _operand_bytes(weights)))
                owed = scatter
        elif operator.split is Split.N:
            yield from _gathered(label, operator, part, ways, overlap=overlap)
        else:
            yield from _scattered(label, operator, part, ways, overlap=overlap)


def replicated_elements(layers: Sequence[Layer]) -> int:
    """Return the parameters that every rank holds whole, whose gradients each rank has for its own tokens alone."""
    return sum(p.elements for layer in layers for p in layer.parameters if not p.split)


def _part(operator: Operator, ways: int, *, whole: bool) -> Operator:
    """Return one rank's part of ``operator``: what is not cut by tensor parallelism is by tokens, unless ``whole``."""
    if operator.split is not None or whole:
        return divide(operator, ways)
    if operator.family in PRODUCTS and operator.shape:
        rows = Split.K if operator.phase is Phase.WEIGHT_GRADIENT else Split.M
        return replace(divide(replace(operator, split=rows), ways), split=None)
    return divide(replace(operator, split=Split.BATCH), ways)


def _last_of_columns(label: str, operator: Operator, part: Operator, owed: Collective | None) -> Iterator[Piece]:
    """Yield the weight gradient of a product cut by columns, its input gradient's sum scattered beside it.

    Without an input gradient before it, in a backward of weight gradients alone, its input is gathered first.
    """
    if owed is not None:
        yield Together((part,), owed)
    else:
        yield _gather(label, _operand_bytes(operator))
        yield part


def _gathered(label: str, operator: Operator, part: Operator, ways: int, *, overlap: bool) -> Iterator[Piece]:
    payload = _operand_bytes(operator)
    if not overlap:
        yield from (_gather(label, payload), part)
        return
    piece = divide(replace(part, split=Split.M), ways)
    for _ in range(ways - 1):
        yield Together((piece,), _part_of(label, payload / ways))
    yield piece


def _scattered(label: str, operator: Operator, part: Operator, ways: int, *, overlap: bool) -> Iterator[Piece]:
    payload = operator.written_bytes
    if not overlap:
        yield from (part, _scatter(label, payload))
        return
    piece = divide(replace(part, split=Split.M), ways)
    yield piece
    for _ in range(ways - 1):
        yield Together((piece,), _part_of(label, payload / ways))


def _operand_bytes(operator: Operator) -> float:
    """Return the bytes of the activations a product reads: its left operand (m, k)."""
    *batch, m, _, k = operator.shape
    return float(operator.element_bytes * (batch[0] if batch else 1) * m * k)


def _gather(label: str, payload_bytes: float) -> Collective:
    return Collective(label, CollectiveKind.ALL_GATHER, GROUP, payload_bytes)


def _scatter(label: str, payload_bytes: float) -> Collective:
    return Collective(label, CollectiveKind.REDUCE_SCATTER, GROUP, payload_bytes)


def _part_of(label: str, payload_bytes: float) -> Collective:
    """Return the message of a part, which copies move over the links at their own rate (userbuffers)."""
    return Collective(label, CollectiveKind.SHIFT, GROUP, payload_bytes, PEER_COPIES)
