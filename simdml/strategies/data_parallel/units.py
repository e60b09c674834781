"""What FSDP gathers together: a wrapped block, or what is left over for the root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from simdml.strategies import tensor_parallel
from simdml.strategies.stage_code import StageCode
from simdml.workload.model import Block, Model

Wrap = Literal["block", "every_block", "model"]


@dataclass(frozen=True, slots=True)
class Unit:
    """Parameters gathered and reduced together, ``elements`` of them on this tensor-parallel rank."""

    name: str
    elements: int


@dataclass(frozen=True, slots=True)
class Units:
    """The units of a chunk: one for each of its blocks, None where the block's parameters are the root's."""

    of_block: tuple[Unit | None, ...]
    root: Unit | None

    def all(self) -> tuple[Unit, ...]:
        """Return the units in the order of forward, the root first."""
        wrapped = tuple(unit for unit in self.of_block if unit is not None)
        return wrapped if self.root is None else (self.root, *wrapped)


def wrap_blocks(code: StageCode, name: str, model: Model, wrap: Wrap) -> Units:
    """Return the units of the chunk ``name``.

    ``block`` wraps every block but the first and the last of the model, the embedding and the head, whose parameters
    are the root's (transformer_auto_wrap_policy; fully_shard on every layer and then on the model); ``every_block``
    wraps these as well; ``model`` makes one unit of everything.
    """
    ends = (id(model.blocks[0]), id(model.blocks[-1])) if len(model.blocks) > 2 else ()
    root, of_block = 0, list[Unit | None]()
    for index, block in enumerate(code.blocks):
        elements = _elements(block, code.tp)
        own = wrap == "every_block" or (wrap == "block" and id(block) not in ends)
        if own and elements:
            of_block.append(Unit(f"{block.name} {index} of {name}", elements))
        else:
            root += elements
            of_block.append(None)
    return Units(tuple(of_block), Unit(f"root of {name}", root) if root else None)


def padded(elements: int, ranks: int) -> int:
    """Return ``elements`` rounded up so that every rank's shard is equally large."""
    return -(-elements // ranks) * ranks


def largest_pair(units: Sequence[int]) -> int:
    """Return the most that two neighbours have together."""
    return max((a + b for a, b in pairwise(units)), default=sum(units))


def _elements(block: Block, tp: int) -> int:
    return sum(sum(tensor_parallel.parameters_on_rank(layer, tp)) for layer in block.layers)
