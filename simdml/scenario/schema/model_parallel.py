"""How a layer is spread over the ranks of a replica: sections of ``strategy``."""

from __future__ import annotations

from simdml.documents.quantities import DocumentModel


class TensorParallelSpec(DocumentModel):
    """How tensor-parallel ranks share what they compute; for mesh.tp of more than 1."""

    sequence_parallel: bool = False
    """Whether norms, dropouts and residuals are divided over the sequence (Megatron-LM --sequence-parallel)."""
    async_all_reduce: bool | None = None
    """Whether input gradients are summed beside the weight gradients; yes in Megatron-LM since 2022."""
    overlap: bool = False
    """Whether activations move in parts beside the matrix products (Megatron-LM --tp-comm-overlap)."""
