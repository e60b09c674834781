"""The layers of a model written down in a scenario, one kind a class; sizes, FLOPs and bytes are for one sample."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from simdml.documents.quantities import Bytes, BytesOrZero, Count, CountOrZero, DocumentModel


class _Layer(DocumentModel):
    name: str
    """What the layer is called."""
    block: str | None = None
    """Consecutive layers of one block are placed together; by default a layer is a block of its own."""
    output_bytes: Bytes | None = None
    """What crosses to the next block for one sample, where that is not the layer's output."""

    def entry(self) -> dict[str, Any]:
        """Return the layer as :func:`simdml.workload.custom.build_custom` reads it."""
        return self.model_dump(exclude_none=True)


class LinearLayer(_Layer):
    """A matrix product with a bias."""

    kind: Literal["linear"]
    """Which kind of layer this is."""
    inputs: Count
    """Input features."""
    outputs: Count
    """Output features."""
    rows: Count = 1
    """Rows a sample has, such as tokens."""
    bias: bool = True
    """Whether a bias is added, as in torch.nn.Linear."""


class ConvolutionLayer(_Layer):
    """A square two-dimensional convolution."""

    kind: Literal["convolution"]
    """Which kind of layer this is."""
    channels_in: Count
    """Input channels."""
    channels_out: Count
    """Output channels."""
    kernel: Count
    """Height and width of the kernel."""
    height: Count
    """Height of the input."""
    width: Count
    """Width of the input."""
    stride: Count = 1
    """Step of the kernel."""
    padding: CountOrZero = 0
    """Rows and columns added on every side."""
    bias: bool = False
    """Whether a bias is added."""


class AttentionLayer(_Layer):
    """Fused attention over queries, keys and values that other layers made."""

    kind: Literal["attention"]
    """Which kind of layer this is."""
    heads: Count
    """Query heads."""
    sequence: Count
    """Tokens."""
    head_size: Count
    """Features of a head."""
    kv_heads: Count | None = None
    """Key and value heads; as many as query heads by default."""
    causal: bool = True
    """Whether a token attends only to those before it."""


class NormalizationLayer(_Layer):
    """Batch, layer or RMS normalisation."""

    kind: Literal["normalization"]
    """Which kind of layer this is."""
    elements: Count
    """Elements a sample has."""
    parameters: CountOrZero = 0
    """Trainable elements."""


class ElementwiseLayer(_Layer):
    """An activation function, a residual add, a dropout."""

    kind: Literal["elementwise"]
    """Which kind of layer this is."""
    elements: Count
    """Elements a sample has."""
    inputs: Count = 1
    """Tensors read."""


class EmbeddingLayer(_Layer):
    """A table of rows that are looked up."""

    kind: Literal["embedding"]
    """Which kind of layer this is."""
    rows: Count
    """Rows of the table."""
    width: Count
    """Features of a row."""
    lookups: Count = 1
    """Rows a sample looks up."""


class MeasuredLayer(_Layer):
    """Anything else, by its FLOPs and bytes."""

    kind: Literal["measured"]
    """Which kind of layer this is."""
    forward_flops: CountOrZero
    """FLOPs of forward, as 4.1 G."""
    backward_flops: CountOrZero | None = None
    """FLOPs of backward; twice those of forward by default."""
    parameters: CountOrZero = 0
    """Trainable elements."""
    bytes: BytesOrZero | None = None
    """What forward reads and writes besides parameters; what it keeps and puts out by default."""
    activation_bytes: BytesOrZero = 0.0
    """What forward keeps for backward."""


LayerSpec = Annotated[
    LinearLayer
    | ConvolutionLayer
    | AttentionLayer
    | NormalizationLayer
    | ElementwiseLayer
    | EmbeddingLayer
    | MeasuredLayer,
    Field(discriminator="kind"),
]
