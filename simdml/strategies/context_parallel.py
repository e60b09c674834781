"""Context parallelism: every sequence lies on several ranks, and attention needs the others' tokens.

``ring`` passes keys and values round while attention runs on those that are there, in backward with their gradients
(Liu et al., Ring Attention, arXiv 2310.01889); tokens are dealt so that causal ranks have equal work, and partial
outputs are merged. ``all_gather`` gathers keys and values first and scatters the sum of their gradients (Llama 3, arXiv
2407.21783, section 3.3.2). ``ulysses`` trades the sequence for heads and back by all-to-alls (Jacobs et al.,
DeepSpeed-Ulysses, arXiv 2309.14509). The first two as in NVIDIA/TransformerEngine's
attention/dot_product_attention/context_parallel.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from simdml.errors import InfeasibleError
from simdml.program.instructions import Collective, CollectiveKind
from simdml.strategies.job import Spread
from simdml.strategies.pieces import Piece, Together
from simdml.workload.model import Attends, Layer, Model
from simdml.workload.operators import Family, Operator, Phase, attention, divide, memory_bound

GROUP: Final = "cp"
CORE: Final = (Family.ATTENTION, Family.BATCHED_MATMUL)


def pieces(label: str, layer: Layer, operators: Sequence[Operator], tp: int, spread: Spread) -> Iterator[Piece]:
    """Yield one rank's part of the ``operators`` of a layer that attends."""
    assert layer.attends is not None
    core = [position for position, operator in enumerate(operators) if operator.family in CORE]
    for position, operator in enumerate(operators):
        part = divide(operator, tp)
        if position not in core:
            yield part
        elif spread.context == "ring":
            yield from _ring(label, layer.attends, operator, tp, spread.cp)
        elif spread.context == "all_gather":
            yield from _gathered(label, layer.attends, part, tp, spread.cp)
        else:
            first, last = position == core[0], position == core[-1]
            yield from _traded(label, layer.attends, operator, tp, spread.cp, ends=(first, last))


def check(model: Model, tp: int, spread: Spread) -> None:
    """Refuse models whose attention cannot be spread so.

    Raises:
        InfeasibleError: with what does not divide, or which kernel it takes.
    """
    if spread.cp == 1:
        return
    layers = [layer for block in model.distinct_blocks for layer in block.layers if layer.attends is not None]
    if not layers:
        raise InfeasibleError(
            f"{model.name} has no attention whose sequences context parallelism could spread over {spread.cp} ranks",
            hint="leave cp out",
        )
    for layer in layers:
        assert layer.attends is not None
        if spread.context == "ulysses":
            _check_heads(model, layer.attends, tp, spread.cp)
        elif not any(operator.family is Family.ATTENTION for operator in layer.forward):
            raise InfeasibleError(
                f"{spread.context} context parallelism merges the outputs of FlashAttention kernels, and attention is "
                "unfused",
                hint="training: {attention: flash}, or context_parallel: {method: ulysses}",
            )


def _check_heads(model: Model, attends: Attends, tp: int, cp: int) -> None:
    for heads, what in ((attends.heads, "heads"), (attends.kv_heads, "KV heads")):
        if heads % (tp * cp):
            raise InfeasibleError(
                f"ulysses trades the sequence for heads, and the {heads} {what} of {model.name} do not divide over "
                f"tp {tp} x cp {cp}",
                hint="a cp that divides them, or context_parallel: {method: ring}",
            )


def _ring(label: str, attends: Attends, operator: Operator, tp: int, cp: int) -> Iterator[Piece]:
    batch, heads, queries, keys, head_size = operator.shape
    part = divide(
        attention(
            operator.name,
            batch=batch,
            heads=heads,
            kv_heads=attends.kv_heads,
            sequence=queries,
            keys=keys // cp,
            head_size=head_size,
            value_size=attends.value_size,
            element_bytes=operator.element_bytes,
            causal=operator.causal,
            phase=operator.phase,
            generation=operator.generation,
        ),
        tp,
    )
    directions = 1 if operator.phase is Phase.FORWARD else 2
    message = Collective(label, CollectiveKind.SHIFT, GROUP, directions * attends.key_value_bytes / tp)
    merge = _merge(attends, operator, tp)
    yield Together((part,), message)
    for _ in range(cp - 2):
        yield Together((part, merge), message)
    yield from (part, merge)


def _merge(attends: Attends, operator: Operator, tp: int) -> Operator:
    """Return the kernel that adds a partial output, or gradient of the queries, to those before."""
    nbytes = (attends.output_bytes if operator.phase is Phase.FORWARD else attends.query_bytes) / tp
    return memory_bound(
        f"{operator.name}_merge",
        Family.ELEMENTWISE,
        read_bytes=2 * nbytes,
        written_bytes=nbytes,
        element_bytes=operator.element_bytes,
        phase=operator.phase,
    )


def _gathered(label: str, attends: Attends, part: Operator, tp: int, cp: int) -> Iterator[Piece]:
    payload = attends.key_value_bytes * cp / tp
    yield Collective(label, CollectiveKind.ALL_GATHER, GROUP, payload)
    yield part
    if part.phase is not Phase.FORWARD:
        yield Collective(label, CollectiveKind.REDUCE_SCATTER, GROUP, payload)


def _traded(
    label: str, attends: Attends, operator: Operator, tp: int, cp: int, *, ends: tuple[bool, bool]
) -> Iterator[Piece]:
    """Yield attention over whole sequences and 1/cp of the heads, with an all-to-all of each of its four tensors."""
    queries, keys, values, output = (
        Collective(label, CollectiveKind.ALL_TO_ALL, GROUP, nbytes / tp)
        for nbytes in (attends.query_bytes, attends.key_bytes, attends.value_bytes, attends.output_bytes)
    )
    several, one = (queries, keys, values), (output,)
    before, after = (several, one) if operator.phase is Phase.FORWARD else (one, several)
    if ends[0]:
        yield from before
    if operator.family is Family.ATTENTION:
        batch, heads, sequence, all_keys, head_size = operator.shape
        operator = attention(
            operator.name,
            batch=batch,
            heads=heads // cp,
            kv_heads=attends.kv_heads // cp,
            sequence=sequence * cp,
            keys=all_keys,
            head_size=head_size,
            value_size=attends.value_size,
            element_bytes=operator.element_bytes,
            causal=operator.causal,
            phase=operator.phase,
            generation=operator.generation,
        )
    yield divide(operator, tp)
    if ends[1]:
        yield from after
