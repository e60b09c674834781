"""The keys of a model: its tensors, cut into pieces that are placed on servers."""

from __future__ import annotations

from dataclasses import dataclass

from simdml.strategies.parameter_server.placement import PLACEMENTS, Parts, Piece, Servers
from simdml.strategies.parameter_server.plan import ParameterServerPlan
from simdml.strategies.stage_code import StageCode


@dataclass(frozen=True, slots=True)
class Part:
    """What one server holds of a key."""

    name: str
    server: int
    payload_bytes: float


@dataclass(frozen=True, slots=True)
class Key:
    """One tensor, or a piece of one: summed and copied in one, pushed and pulled part by part.

    Its gradient is ready after ``after`` parameters of backward; layer number ``layer`` in forward order needs it.
    """

    name: str
    payload_bytes: float
    after: int
    layer: int
    parts: tuple[Part, ...]


def keys_of(
    code: StageCode, plan: ParameterServerPlan, servers: Servers, element_bytes: int, prefix: str = ""
) -> list[Key]:
    """Return keys in the order their gradients become ready; tensors are placed in the order of registration."""
    tensors = _tensors(code)
    registered = tensors[::-1]
    pieces = [
        Piece(number, part, nbytes)
        for number, tensor in enumerate(registered)
        for part, nbytes in enumerate(plan.partition.cut(tensor.elements * element_bytes))
    ]
    placed_of: list[list[tuple[Piece, Parts]]] = [[] for _ in registered]
    for piece, placed in zip(pieces, PLACEMENTS[plan.placement](pieces, servers), strict=True):
        placed_of[piece.tensor].append((piece, placed))
    keys = []
    for ready, (tensor, found) in enumerate(zip(tensors, placed_of[::-1], strict=True)):
        name = f"{prefix}{ready} {tensor.name}"
        parts = [_parts(name, piece if len(found) > 1 else None, placed) for piece, placed in found]
        if plan.partition_at == "network":
            parts = [tuple(part for piece in parts for part in piece)]
        names = [name] if len(parts) == 1 else [f"{name} part {number}" for number in range(len(parts))]
        keys += [_key(name, ready + 1, tensor.layer, each) for name, each in zip(names, parts, strict=True)]
    return keys if plan.messages == "tensors" else [_joined(prefix, keys)]


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    elements: int
    layer: int


def _tensors(code: StageCode) -> list[_Tensor]:
    """Return the parameters in the order their gradients become ready."""
    backward = list(code.layers_in_backward_order())
    names = [
        (f"{block.name}.{layer.name}.{parameter.name}", len(backward) - 1 - position)
        for position, (block, layer) in enumerate(backward)
        for parameter in reversed(layer.parameters)
    ]
    return [_Tensor(name, elements, layer) for (name, layer), elements in zip(names, code.gradients(), strict=True)]


def _parts(name: str, piece: Piece | None, placed: Parts) -> tuple[Part, ...]:
    name += f" part {piece.part}" if piece is not None else ""
    return tuple(Part(f"{name} on {server}" if len(placed) > 1 else name, server, nbytes) for server, nbytes in placed)


def _key(name: str, after: int, layer: int, parts: tuple[Part, ...]) -> Key:
    return Key(name, sum(part.payload_bytes for part in parts), after, layer, parts)


def _joined(prefix: str, keys: list[Key]) -> Key:
    """Return one key of which every server holds all that it held of ``keys``."""
    held: dict[int, float] = {}
    for part in (part for key in keys for part in key.parts):
        held[part.server] = held.get(part.server, 0.0) + part.payload_bytes
    parts = tuple(Part(f"{prefix}model on {server}", server, nbytes) for server, nbytes in sorted(held.items()))
    return Key(f"{prefix}model", sum(held.values()), max(key.after for key in keys), 0, parts)
