"""What one training step of a model computes: blocks of layers of operators.

* an **operator** is a kernel, the unit of cost;
* a **layer** owns parameters whose gradients become ready together, the unit of gradient bucketing;
* a **block** is the unit of placement and recomputation: a model may be cut between blocks, never inside one.

Everything is for one micro-batch on one rank before any parallelism; strategies divide it.
"""

from __future__ import annotations

from dataclasses import dataclass

from simdml.workload.operators import Family, Operator, Phase


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter tensor: its name within the layer, its elements, whether tensor parallelism divides it.

    ``rows`` is the size of a matrix's first dimension as PyTorch stores it (outputs of a linear layer); 0 for vectors.
    """

    name: str
    elements: int
    split: bool = False
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Buffer:
    """A tensor of the model's state that no gradient changes, such as a batch norm's running mean: its type, bytes."""

    name: str
    dtype: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Activation:
    """A tensor kept from forward for backward: its bytes, and whether tensor parallelism divides it.

    ``bulky`` tensors take much memory for little work: selective recomputation makes them again in backward. ``whole``
    ones are on every rank whatever is divided.
    """

    name: str
    bytes: float
    split: bool = False
    bulky: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Attends:
    """What attention of the tokens on a rank reads and writes: bytes of queries, of keys, of values and of the output.

    ``value_size`` is the size of a head of values.
    """

    heads: int
    kv_heads: int
    value_size: int
    query_bytes: float
    key_bytes: float
    value_bytes: float
    output_bytes: float

    @property
    def key_value_bytes(self) -> float:
        """Bytes of keys and values together."""
        return self.key_bytes + self.value_bytes


@dataclass(frozen=True, slots=True)
class Layer:
    """Parameters, the operators of forward and of backward in execution order, what forward keeps, and buffers.

    ``passing`` are the tensors that are there beside the kept ones when most are, while the layer runs backward. With
    ``gathered_bytes`` every tensor-parallel rank gathers them before forward and does all of the layer's work.
    What other ranks take part in where tokens or experts are spread over several: a layer ``attends``, its parameters
    and products are those of ``experts``, forward hands ``dispatched_bytes`` to experts after its operators, or gets
    ``combined_bytes`` from them before.
    """

    name: str
    forward: tuple[Operator, ...]
    backward: tuple[Operator, ...]
    parameters: tuple[Parameter, ...] = ()
    activations: tuple[Activation, ...] = ()
    buffers: tuple[Buffer, ...] = ()
    attends: Attends | None = None
    experts: int = 0
    dispatched_bytes: float = 0.0
    combined_bytes: float = 0.0
    passing: tuple[Activation, ...] = ()
    gathered_bytes: float = 0.0

    @property
    def parameter_count(self) -> int:
        """Elements over all parameters."""
        return sum(parameter.elements for parameter in self.parameters)

    @property
    def keeps_bulky(self) -> bool:
        """Whether selective recomputation runs the layer's forward again in backward."""
        return any(activation.bulky for activation in self.activations)

    @property
    def forward_flops(self) -> float:
        """FLOPs of forward, every operator counted."""
        return sum(operator.flops for operator in self.forward)

    @property
    def backward_flops(self) -> float:
        """FLOPs of backward, every operator counted."""
        return sum(operator.flops for operator in self.backward)


@dataclass(frozen=True, slots=True)
class Block:
    """Layers that stay together; ``output_bytes`` cross to the next block for one micro-batch.

    ``activation_bytes`` kept by all layers is their sum; under full recomputation only the block's input
    (the previous block's output) is kept and forward is run again. A ``stacked`` block is one of a stack of layers, of
    which pipeline stages get equally many whatever is in them.
    """

    name: str
    layers: tuple[Layer, ...]
    output_bytes: float
    recomputable: bool = True
    stacked: bool = False

    @property
    def parameter_count(self) -> int:
        """Elements over all layers."""
        return sum(layer.parameter_count for layer in self.layers)

    def operators(self, phase: Phase) -> tuple[Operator, ...]:
        """Operators of ``FORWARD``, or of backward in reverse layer order (any gradient phase gives all)."""
        if phase is Phase.FORWARD:
            return tuple(operator for layer in self.layers for operator in layer.forward)
        return tuple(operator for layer in reversed(self.layers) for operator in layer.backward)


@dataclass(frozen=True, slots=True)
class Model:
    """One micro-batch of ``samples`` through ``blocks``, in forward order.

    ``sample_unit`` is ``"images"`` or ``"sequences"``; ``tokens_per_sample`` is 1 for images. Repeated blocks
    are the same object. ``tied`` lists ``(block name, block name)`` pairs sharing one parameter tensor of
    ``tied_parameters`` elements, owned by the first and not counted in the second.
    ``model_flops_per_sample`` follows the FlopCounterMode convention (matmul, convolution, attention only)
    for forward and backward without recomputation: the numerator of MFU.
    """

    name: str
    blocks: tuple[Block, ...]
    samples: int
    sample_unit: str
    tokens_per_sample: int
    model_flops_per_sample: float
    element_bytes: int
    tied: tuple[tuple[str, str], ...] = ()
    tied_parameters: int = 0

    @property
    def distinct_blocks(self) -> tuple[Block, ...]:
        """The blocks in order, each object once."""
        return tuple({id(block): block for block in self.blocks}.values())

    @property
    def parameter_count(self) -> int:
        """Trainable elements, tied tensors once."""
        return sum(block.parameter_count for block in self.blocks)


def model_flops(blocks: tuple[Block, ...]) -> float:
    """Return forward and backward FLOPs of ``blocks`` without recomputation, FlopCounterMode's convention.

    A fused attention backward computes the scores again; that product is recomputation, so attention counts
    forward three times whichever kernel runs, the 12·L·h·s a token of PaLM (arXiv 2204.02311, appendix B).
    """
    per_block = {id(block): _block_flops(block) for block in blocks}
    return sum(per_block[id(block)] for block in blocks)


def _block_flops(block: Block) -> float:
    forward = sum(
        operator.flops * (3 if operator.family is Family.ATTENTION else 1)
        for operator in block.operators(Phase.FORWARD)
    )
    return forward + sum(
        operator.flops for operator in block.operators(Phase.INPUT_GRADIENT) if operator.family is not Family.ATTENTION
    )
