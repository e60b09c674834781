"""One rank's part of a layer, whatever it is spread over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simdml.program.instructions import Collective, CollectiveKind
from simdml.strategies import context_parallel, expert_parallel, sequence_parallel, tensor_parallel
from simdml.strategies.job import Spread
from simdml.strategies.pieces import Piece
from simdml.workload.model import Layer, Model
from simdml.workload.operators import Operator, Phase


def layer_pieces(label: str, layer: Layer, operators: Sequence[Operator], tp: int, spread: Spread) -> Iterator[Piece]:
    """Yield kernels and collectives of ``operators``, which are of one direction of ``layer``."""
    if layer.gathered_bytes and tp > 1:
        return _gathered(label, layer, operators)
    if spread.ep == 1 or not operators:
        return _inside(label, layer, operators, tp, spread)
    if layer.experts:
        return _inside(label, layer, expert_parallel.on_rank(operators, spread.ep), tp, spread)
    payload = layer.dispatched_bytes or layer.combined_bytes
    if not payload:
        return _inside(label, layer, operators, tp, spread)
    if spread.sequence_parallel:
        payload /= tp
    forward = operators[0].phase is Phase.FORWARD
    pieces = list(_inside(label, layer, operators, tp, spread))
    return expert_parallel.exchanged(label, layer, pieces, payload, forward=forward)


def _gathered(label: str, layer: Layer, operators: Sequence[Operator]) -> Iterator[Piece]:
    """Yield all of a layer's work, of which every rank gathers the input; the gradient of its part is already there."""
    if operators and operators[0].phase is Phase.FORWARD:
        yield Collective(label, CollectiveKind.ALL_GATHER, tensor_parallel.GROUP, layer.gathered_bytes)
    yield from operators


def check(model: Model, tp: int, spread: Spread) -> None:
    """Refuse a model that cannot be spread so.

    Raises:
        InfeasibleError: with what does not divide.
    """
    tensor_parallel.check_divisible(model, tp)
    context_parallel.check(model, tp, spread)
    expert_parallel.check(model, spread.ep)


def _inside(label: str, layer: Layer, operators: Sequence[Operator], tp: int, spread: Spread) -> Iterator[Piece]:
    if spread.cp > 1 and layer.attends is not None:
        return context_parallel.pieces(label, layer, operators, tp, spread)
    if spread.sequence_parallel and tp > 1:
        return sequence_parallel.pieces(label, layer, operators, tp, overlap=spread.tp_overlap)
    return tensor_parallel.pieces(label, operators, tp, asynchronous=spread.async_all_reduce)
