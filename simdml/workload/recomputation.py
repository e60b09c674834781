"""What of a block's forward is run again in backward.

Megatron-LM's and DeepSpeed's checkpointing, and torch.utils.checkpoint with ``use_reentrant=True``, run all of it. The
non-reentrant one stops once every tensor that backward reads is there again (torch/utils/checkpoint.py,
``_StopRecomputationError``, raised when the last one is packed; on by default since PyTorch 2.1,
``set_checkpoint_early_stop``). A product packs its input before it runs, so the last product of a block, whose result
nothing in the block reads in backward, is left out, and the residual add after it.
"""

from __future__ import annotations

from typing import Final

from simdml.workload.model import Block, Layer
from simdml.workload.operators import Family, Operator

_ADDS: Final = ("add_residual", "bias_dropout_add")
"""Operators that keep nothing, unless they drop elements."""
_MASK: Final = "dropout_mask"


def operators_run_again(block: Block, layer: Layer, *, stops_early: bool) -> tuple[Operator, ...]:
    """Return the operators of ``layer``'s forward that recomputation of ``block`` runs."""
    if not stops_early or layer is not block.layers[-1] or layer.experts or layer.combined_bytes:
        return layer.forward
    if any(activation.name == _MASK for activation in layer.activations):
        return layer.forward
    operators = layer.forward
    while operators and operators[-1].name in _ADDS:
        operators = operators[:-1]
    if operators and operators[-1].family is Family.MATMUL:
        operators = operators[:-1]
    return operators
