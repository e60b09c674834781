"""Expert parallelism: every rank holds some of the experts, and tokens go to them and back by all-to-all.

Dispatch and combine each move the tokens once forward and once backward, as many times as a token has experts
(Lepikhin et al., GShard, arXiv 2006.16668, section 3; NVIDIA/Megatron-LM:megatron/core/transformer/moe, dispatcher
``alltoall``). Experts are a part of the data-parallel ranks: their gradients are summed over the ranks left. Where
sequences are shared too, the ranks that share one hold different experts if there are enough (the mesh axis ``ep`` then
is ep/cp): megatron/core/parallel_state.py, whose expert_decoder_rank_generator has no cp; pytorch/torchtitan,
torchtitan/distributed/parallel_dims.py, where ep = dp_shard_in_ep x cp.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Final

from simdml.errors import InfeasibleError
from simdml.program.instructions import Collective, CollectiveKind
from simdml.program.mesh import Mesh
from simdml.strategies.pieces import Piece
from simdml.workload.model import Layer, Model
from simdml.workload.operators import Family, Operator, Phase, reshaped

GROUP: Final = "ep"
GRADIENTS: Final = "expert dp"
"""The group over which an expert's gradients are summed."""


def axes(mesh: Mesh, ep: int) -> tuple[str, ...]:
    """Return the axes along which ranks of ``mesh`` hold different ones of experts spread over ``ep``."""
    return ("ep",) if mesh.size("ep") == ep else ("cp", "ep")


def on_rank(operators: Iterable[Operator], ways: int) -> tuple[Operator, ...]:
    """Return what one rank does of the ``operators`` of a layer of experts: 1/ways of them, for all ranks' tokens.

    Kernels over parameters become fewer; kernels over tokens stay as many rows.
    """
    return tuple(map(partial(_on_rank, ways=ways), operators))


def exchanged(label: str, layer: Layer, pieces: list[Piece], payload_bytes: float, *, forward: bool) -> Iterator[Piece]:
    """Yield the ``pieces`` of a layer that dispatches or combines, with the all-to-all after or before them."""
    message = Collective(label, CollectiveKind.ALL_TO_ALL, GROUP, payload_bytes)
    after = bool(layer.dispatched_bytes) is forward
    if pieces and not after:
        yield message
    yield from pieces
    if pieces and after:
        yield message


def check(model: Model, ways: int) -> None:
    """Refuse models whose experts cannot be spread over ``ways`` ranks.

    Raises:
        InfeasibleError: with the number of experts.
    """
    if ways == 1:
        return
    counts = {layer.experts for block in model.distinct_blocks for layer in block.layers if layer.experts}
    if not counts:
        raise InfeasibleError(f"{model.name} has no experts to spread over {ways} ranks", hint="leave ep out")
    for count in sorted(counts):
        if count % ways:
            divisors = ", ".join(str(each) for each in range(2, count + 1) if count % each == 0)
            raise InfeasibleError(
                f"ep {ways} does not divide the {count} experts of {model.name}", hint=f"ep can be {divisors}"
            )


def _on_rank(operator: Operator, ways: int) -> Operator:
    if operator.family is Family.BATCHED_MATMUL:
        return _products(operator, ways)
    return _share(operator, ways) if operator.phase is Phase.WEIGHT_GRADIENT else operator


def _products(operator: Operator, ways: int) -> Operator:
    experts, m, n, k = operator.shape
    rows_deep = operator.phase is Phase.WEIGHT_GRADIENT
    shape = (experts // ways, m, n, k * ways) if rows_deep else (experts // ways, m * ways, n, k)
    return replace(reshaped(operator, shape), launches=max(operator.launches // ways, 1))


def _share(operator: Operator, ways: int) -> Operator:
    """Return a kernel over the parameters of a layer of experts, for those of one rank."""
    return replace(
        operator,
        read_bytes=operator.read_bytes / ways,
        written_bytes=operator.written_bytes / ways,
        launches=max(operator.launches // ways, 1),
    )
