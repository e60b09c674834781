"""Cutting a model into pipeline stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from simdml.errors import InfeasibleError
from simdml.workload.model import Block, Model

Balance = Literal["blocks", "blocks_and_ends", "flops"] | tuple[int, ...]


def cut(model: Model, num_stages: int, balance: Balance = "blocks") -> tuple[tuple[Block, ...], ...]:
    """Return the blocks of each stage, in order.

    ``blocks`` gives every stage equally many of the repeated blocks, the first block to the first stage and the last to
    the last, as Megatron-LM does; ``blocks_and_ends`` counts those two as blocks, as Megatron-LM with
    account_for_embedding_in_pipeline_split and its twin for loss (Llama 3: arXiv 2407.21783, section 3.3.2).
    ``flops`` minimises the FLOPs of the largest stage; a tuple lists where stages begin.

    Raises:
        InfeasibleError: if the model cannot be cut so.
    """
    blocks = model.blocks
    _check_enough(model, num_stages)
    if isinstance(balance, tuple):
        begins = _listed(balance, num_stages, len(blocks))
    elif balance == "blocks_and_ends":
        begins = _with_ends(model, num_stages)
    elif balance == "blocks" and _is_stack(blocks):
        begins = _equal_blocks(model, num_stages)
    else:
        begins = _balanced([_flops(block) for block in blocks], num_stages)
    ends = [*begins[1:], len(blocks)]
    return tuple(blocks[begin:end] for begin, end in zip(begins, ends, strict=True))


def balanced_begins(model: Model, weights: Sequence[float], num_stages: int) -> tuple[int, ...]:
    """Return where stages begin so that the largest sum of the blocks' ``weights`` is smallest.

    Raises:
        InfeasibleError: more stages than blocks.
    """
    _check_enough(model, num_stages)
    return tuple(_balanced(weights, num_stages))


def _check_enough(model: Model, num_stages: int) -> None:
    blocks = len(model.blocks)
    if num_stages > blocks:
        raise InfeasibleError(
            f"{model.name} can be cut between its {blocks} blocks and so has at most {blocks} stages, not {num_stages}",
            hint="use fewer pipeline stages or chunks",
        )


def _flops(block: Block) -> float:
    return sum(layer.forward_flops + layer.backward_flops for layer in block.layers)


def _is_stack(blocks: Sequence[Block]) -> bool:
    return len(blocks) > 2 and all(block is blocks[1] or block.stacked for block in blocks[1:-1])


def _with_ends(model: Model, num_stages: int) -> list[int]:
    count = len(model.blocks)
    if count % num_stages:
        raise InfeasibleError(
            f"the {count - 2} layers of {model.name}, embedding and loss do not divide into {num_stages} stages",
            hint=f"use a divisor of {count}, balance: flops, or list where each stage begins",
        )
    return list(range(0, count, count // num_stages))


def _equal_blocks(model: Model, num_stages: int) -> list[int]:
    repeated = len(model.blocks) - 2
    if repeated % num_stages:
        raise InfeasibleError(
            f"the {repeated} layers of {model.name} do not divide into {num_stages} stages",
            hint=f"use a divisor of {repeated}, balance: flops, or list where each stage begins",
        )
    each = repeated // num_stages
    return [0] + [1 + each * stage for stage in range(1, num_stages)]


def _listed(begins: tuple[int, ...], num_stages: int, num_blocks: int) -> list[int]:
    rising = list(begins) == sorted(set(begins))
    if len(begins) != num_stages or not rising or begins[0] != 0 or begins[-1] >= num_blocks:
        raise InfeasibleError(
            f"stages that begin at blocks {list(begins)} are not {num_stages} stages of {num_blocks} blocks",
            hint=f"list {num_stages} rising numbers from 0 to at most {num_blocks - 1}",
        )
    return list(begins)


def _balanced(work: Sequence[float], num_stages: int) -> list[int]:
    """Return where contiguous stages begin so that the largest is smallest (the linear partition problem)."""
    total = [0.0]
    for amount in work:
        total.append(total[-1] + amount)
    count = len(work)
    best = [[float("inf")] * (count + 1) for _ in range(num_stages + 1)]
    choice = [[0] * (count + 1) for _ in range(num_stages + 1)]
    best[0][0] = 0.0
    for stage in range(1, num_stages + 1):
        for end in range(stage, count + 1):
            for begin in range(stage - 1, end):
                largest = max(best[stage - 1][begin], total[end] - total[begin])
                if largest < best[stage][end]:
                    best[stage][end], choice[stage][end] = largest, begin
    begins, end = [], count
    for stage in range(num_stages, 0, -1):
        end = choice[stage][end]
        begins.append(end)
    return begins[::-1]
