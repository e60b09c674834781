"""What FSDP gathers together: a wrapped block, its experts, or what is left over for the root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from simdml.program.mesh import Mesh
from simdml.strategies import tensor_parallel
from simdml.strategies.stage_code import StageCode
from simdml.workload.model import Block, Model

Wrap = Literal["block", "every_block", "model"]
SHARD: Final = "dp_shard"
EXPERT_SHARD: Final = "expert dp_shard"
"""The group of the ranks that hold the same experts, over which these are sharded (torchtitan's dp_shard_mod_ep)."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Parameters gathered and reduced together, ``elements`` of them, in shards on the ``ranks`` of ``group``."""

    name: str
    elements: int
    ranks: int = 1
    group: str = SHARD

    @property
    def shard(self) -> int:
        """The elements on each rank."""
        return padded(self.elements, self.ranks) // self.ranks


@dataclass(frozen=True, slots=True)
class Units:
    """The units of a chunk: those of each of its blocks, none where the block's parameters are the root's."""

    of_block: tuple[tuple[Unit, ...], ...]
    root: tuple[Unit, ...]

    def all(self) -> tuple[Unit, ...]:
        """Return the units in the order of forward, the root first."""
        return tuple(unit for together in self.together() for unit in together)

    def together(self) -> tuple[tuple[Unit, ...], ...]:
        """Return the units that are whole at the same time, the root first."""
        return tuple(units for units in (self.root, *self.of_block) if units)


def shard_ranks(mesh: Mesh) -> int:
    """Return how many ranks shard what they all hold: those of dp_shard and, sharing sequences, of cp.

    pytorch/torchtitan, torchtitan/distributed/parallel_dims.py, dp_shard_cp; the mesh has ep as a part of dp_shard.
    """
    return mesh.size(SHARD) * mesh.size("ep") * mesh.size("cp")


def wrap_blocks(code: StageCode, name: str, model: Model, mesh: Mesh, wrap: Wrap) -> Units:
    """Return the units of the chunk ``name``.

    ``block`` wraps every block but the first and the last of the model, the embedding and the head, whose parameters
    are the root's (transformer_auto_wrap_policy; fully_shard on every layer and then on the model); ``every_block``
    wraps these as well; ``model`` makes one unit of everything. Experts that other ranks do not hold are a unit of
    their own (pytorch/torchtitan, torchtitan/models/llama4/infra/parallelize.py, apply_fsdp).
    """
    ends = (id(model.blocks[0]), id(model.blocks[-1])) if len(model.blocks) > 2 else ()
    sharding = _Sharding(shard_ranks(mesh), code.spread.ep)
    of_block, left = list[tuple[Unit, ...]](), list[Block]()
    for index, block in enumerate(code.blocks):
        own = wrap == "every_block" or (wrap == "block" and id(block) not in ends)
        units = sharding.units(f"{block.name} {index} of {name}", [block], code.tp) if own else ()
        of_block.append(units)
        left += [] if units else [block]
    return Units(tuple(of_block), sharding.units(f"root of {name}", left, code.tp))


@dataclass(frozen=True, slots=True)
class _Sharding:
    """Over how many ranks what all of them hold is sharded, ``ep`` of which hold different experts."""

    ranks: int
    ep: int

    def units(self, name: str, blocks: Sequence[Block], tp: int) -> tuple[Unit, ...]:
        experts = rest = 0
        for layer in (layer for block in blocks for layer in block.layers):
            elements = sum(tensor_parallel.parameters_on_rank(layer, tp, self.ep))
            if layer.experts and self.ep > 1:
                experts += elements
            else:
                rest += elements
        whole = (Unit(name, rest, self.ranks),) if rest else ()
        return (
            *whole,
            *((Unit(f"experts of {name}", experts, self.ranks // self.ep, EXPERT_SHARD),) if experts else ()),
        )


def padded(elements: int, ranks: int) -> int:
    """Return ``elements`` rounded up so that every rank's shard is equally large."""
    return -(-elements // ranks) * ranks


def largest_pair(units: Sequence[int]) -> int:
    """Return the most that two neighbours have together."""
    return max((a + b for a, b in pairwise(units)), default=sum(units))
