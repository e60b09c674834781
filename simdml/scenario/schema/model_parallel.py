"""How a layer is spread over the ranks of a replica: sections of ``strategy``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from simdml.documents.quantities import DocumentModel


class TensorParallelSpec(DocumentModel):
    """How tensor-parallel ranks share what they compute; for mesh.tp of more than 1."""

    sequence_parallel: bool = False
    """Whether norms, dropouts and residuals are divided over the sequence (Megatron-LM --sequence-parallel)."""
    async_all_reduce: bool | None = None
    """Whether input gradients are summed beside the weight gradients; yes in Megatron-LM since 2022."""
    overlap: bool = False
    """Whether activations move in parts beside the matrix products (Megatron-LM --tp-comm-overlap)."""


class ContextParallelSpec(DocumentModel):
    """How attention reaches tokens of other ranks; for mesh.cp of more than 1."""

    method: Literal["ring", "all_gather", "ulysses"] = "ring"
    """Keys and values passed round (Megatron-LM's p2p), gathered first (Llama 3), or heads for sequence (ulysses)."""


class ExpertParallelSpec(DocumentModel):
    """How tokens are dealt to experts."""

    imbalance: Annotated[float, Field(ge=1.0)] = 1.0
    """Tokens of the rank whose experts get most over the mean: all wait for it."""
    capacity_factor: Annotated[float, Field(gt=0.0)] | None = None
    """The most tokens an expert takes over the mean (Megatron-LM --moe-expert-capacity-factor); no limit by default."""
    pad_to_capacity: bool = False
    """Whether every expert computes as many rows as it takes at most (--moe-pad-expert-input-to-capacity)."""
