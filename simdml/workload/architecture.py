"""What makes one transformer differ from another in cost."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from simdml.errors import DocumentError, InfeasibleError


class Norm(StrEnum):
    """Normalisation: layer norm (scale and, usually, bias) or root-mean-square norm (scale alone)."""

    LAYER = "layer"
    RMS = "rms"


class Head(StrEnum):
    """What follows the last block: next-token prediction, or BERT's two pre-training heads."""

    CAUSAL = "causal_language_model"
    BERT = "bert_pretraining"


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    """Sizes and options of a decoder or encoder stack of identical blocks.

    ``head_size`` times ``heads`` may differ from ``hidden``. ``gated`` gives three MLP matrices instead of two.
    ``position_rows`` is the number of rows of the learned position table, 0 without one (rotary and ALiBi have
    no parameters). ``merged_projections`` says that Q, K and V are one parameter tensor, and so are gate and up.
    ``post_norm`` puts norms after the residual adds (BERT). ``num_experts`` above 0 replaces the MLP by a
    router and experts of size ``ffn``, and ``shared_ffn`` adds an expert of that size for every token. Sliding
    windows are not represented: attention spans the sequence.
    """

    name: str
    family: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    ffn: int
    vocab: int
    position_rows: int = 0
    token_types: int = 0
    rotary: bool = False
    gated: bool = False
    qkv_bias: bool = True
    output_bias: bool = True
    mlp_bias: bool = True
    norm: Norm = Norm.LAYER
    norm_bias: bool = True
    post_norm: bool = False
    embedding_norm: bool = False
    tied_head: bool = True
    head: Head = Head.CAUSAL
    merged_projections: bool = True
    num_experts: int = 0
    experts_per_token: int = 0
    shared_ffn: int = 0
    dropout: bool = True

    def __post_init__(self) -> None:
        """Raise DocumentError for a size below 1, InfeasibleError for heads or experts that do not fit."""
        for size in ("layers", "hidden", "heads", "kv_heads", "head_size", "ffn", "vocab"):
            if getattr(self, size) < 1:
                raise DocumentError(f"{self.name}: {size} must be at least 1, got {getattr(self, size)}")
        if self.heads % self.kv_heads:
            raise InfeasibleError(f"{self.name}: {self.kv_heads} KV heads do not divide {self.heads} heads")
        if self.num_experts and not 1 <= self.experts_per_token <= self.num_experts:
            raise InfeasibleError(
                f"{self.name}: experts_per_token must be 1 to {self.num_experts}, got {self.experts_per_token}"
            )

    @property
    def query_width(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_size

    @property
    def key_width(self) -> int:
        """Width of all key (or value) heads together."""
        return self.kv_heads * self.head_size

    @property
    def causal(self) -> bool:
        """Whether a token attends to earlier tokens only."""
        return self.head == Head.CAUSAL
