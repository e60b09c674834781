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
class Latent:
    """Multi-head latent attention: queries, and keys with values, come from vectors of so many elements a token.

    Of a head of queries and keys, ``plain_size`` elements are without rotary embedding and ``rotary_size`` with it; the
    rotated part of the keys is the same for all heads and comes from the hidden state. Heads of values have
    ``value_size``. ``query_rank`` 0 projects queries directly (DeepSeek-V2, arXiv 2405.04434, section 2.1).
    """

    query_rank: int
    key_value_rank: int
    plain_size: int
    rotary_size: int
    value_size: int

    @property
    def head_size(self) -> int:
        """Elements of a head of queries, and of keys."""
        return self.plain_size + self.rotary_size


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    """Sizes and options of a decoder or encoder stack of identical blocks.

    ``head_size`` times ``heads`` may differ from ``hidden``. ``gated`` gives three MLP matrices instead of two.
    ``position_rows`` is the number of rows of the learned position table, 0 without one (rotary and ALiBi have
    no parameters). ``merged_projections`` says that Q, K and V are one parameter tensor, and so are gate and up;
    ``merged_qkv`` says it of the former alone where that is another matter.
    ``post_norm`` puts norms after the residual adds (BERT). ``num_experts`` above 0 replaces the MLP by a
    router and experts of size ``ffn``, and ``shared_ffn`` adds an expert of that size for every token; the first
    ``dense_layers`` have an MLP of size ``dense_ffn`` instead, and ``router_bias`` adds a bias an expert to the router.
    ``predictions`` above 0 are the positions of a sequence that alone get logits, in BERT's head.
    With ``latent``, ``head_size`` is that of its queries. Sliding windows are not represented: attention spans the
    sequence.
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
    merged_qkv: bool | None = None
    num_experts: int = 0
    experts_per_token: int = 0
    shared_ffn: int = 0
    dropout: bool = True
    latent: Latent | None = None
    dense_layers: int = 0
    dense_ffn: int = 0
    router_bias: bool = False
    predictions: int = 0

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
        if not 0 <= self.dense_layers <= self.layers or (self.dense_layers and self.dense_ffn < 1):
            raise InfeasibleError(
                f"{self.name}: {self.dense_layers} of {self.layers} layers are dense, with an MLP of {self.dense_ffn}"
            )

    @property
    def merges_qkv(self) -> bool:
        """Whether queries, keys and values are projected by one matrix."""
        return self.merged_projections if self.merged_qkv is None else self.merged_qkv

    @property
    def query_width(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_size

    @property
    def key_width(self) -> int:
        """Width of all key heads together."""
        return self.kv_heads * self.head_size

    @property
    def value_size(self) -> int:
        """Elements of a head of values, and of the output."""
        return self.head_size if self.latent is None else self.latent.value_size

    @property
    def output_width(self) -> int:
        """Width of the outputs of all heads together."""
        return self.heads * self.value_size

    @property
    def causal(self) -> bool:
        """Whether a token attends to earlier tokens only."""
        return self.head == Head.CAUSAL
