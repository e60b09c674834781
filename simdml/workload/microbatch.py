"""How a micro-batch is computed: its size, its element, and which kernels run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from simdml.workload.model import Activation
from simdml.workload.operators import Family, Operator, Phase, Split, memory_bound


class AttentionKernel(StrEnum):
    """Attention as separate kernels that store the scores, or as one FlashAttention kernel of some generation.

    ``FLASH`` is FlashAttention-2. ``FLASH_1`` is the first, in CUDA or Triton; ``FLASH_3`` needs a Hopper GPU or a
    newer one; cuDNN's fused attention is taken to be as fast on Hopper, and stands for it on Blackwell.
    ``FUSED_SOFTMAX`` stores the scores too, but scales, masks and normalises them in Megatron-LM's one kernel among
    eager ones; ``FP32_SOFTMAX`` has kernels that convert them to fp32 and back around an eager softmax.
    """

    UNFUSED = "unfused"
    FUSED_SOFTMAX = "fused_softmax"
    FP32_SOFTMAX = "fp32_softmax"
    FLASH_1 = "flash_1"
    FLASH = "flash"
    FLASH_3 = "flash_3"

    @property
    def stores_scores(self) -> bool:
        """Whether scores are written to memory."""
        return not self.generation

    @property
    def generation(self) -> int:
        """1 to 3, 0 where scores are stored."""
        return {"flash_1": 1, "flash": 2, "flash_3": 3}.get(self.value, 0)


class GradientAccumulation(StrEnum):
    """What happens to a weight gradient of a micro-batch.

    ``NONE``: it is written once. ``ADD``: a kernel adds it to a gradient of the same type. ``ADD_FP32``: a kernel
    adds it to an fp32 gradient. ``CAST_ADD_FP32``: one kernel converts it to fp32 and another adds that (DeepSpeed,
    runtime/bf16_optimizer.py, update_hp_grads). ``FUSED_FP32``: the matmul itself accumulates into an fp32 gradient
    (Megatron-LM ``gradient_accumulation_fusion``); gradients of biases and norms are added by kernels.
    """

    NONE = "none"
    ADD = "add"
    ADD_FP32 = "add_fp32"
    CAST_ADD_FP32 = "cast_add_fp32"
    FUSED_FP32 = "fused_fp32"


@dataclass(frozen=True, slots=True)
class Microbatch:
    """``samples`` sequences of ``sequence`` tokens of ``element_bytes`` elements on one rank.

    With ``context_ways`` a sequence lies on so many ranks, ``sequence`` tokens of it on each.
    ``expert_load`` is how many tokens the experts of this rank get over what they would if all got equally many.
    ``fused_elementwise`` picks the kernels of Megatron-LM (megatron/fused_kernels and megatron/model/fused_*.py):
    scale, mask and softmax in one, bias with GeLU in one, bias, dropout and residual add in one. Otherwise they
    are PyTorch eager's, one kernel an operation, with biases in the matmul's epilogue. ``fused_norm`` makes one kernel
    of a norm among eager ones, ``norm_keeps_input`` keeps the input of a chain of them. With ``gathers_logits`` every
    tensor-parallel rank computes the loss of whole logits.
    """

    samples: int
    sequence: int
    element_bytes: int
    attention: AttentionKernel
    fused_elementwise: bool
    dropout: bool
    causal: bool
    gradient_accumulation: GradientAccumulation
    context_ways: int = 1
    expert_load: float = 1.0
    fused_norm: bool = False
    norm_keeps_input: bool = False
    gathers_logits: bool = False

    @property
    def keys(self) -> int:
        """Tokens of a sequence that a query may attend to."""
        return self.sequence * self.context_ways

    @property
    def tokens(self) -> int:
        """Tokens in the micro-batch."""
        return self.samples * self.sequence

    @property
    def fuses_softmax(self) -> bool:
        """Whether scores are scaled, masked and normalised in one kernel."""
        return self.fused_elementwise or self.attention is AttentionKernel.FUSED_SOFTMAX

    @property
    def casts_scores(self) -> bool:
        """Whether softmax runs between casts to fp32 and back."""
        return self.attention is AttentionKernel.FP32_SOFTMAX and self.element_bytes < 4 and not self.fused_elementwise

    @property
    def accumulates_in_matmul(self) -> bool:
        """Whether weight-gradient matmuls read and write an fp32 gradient."""
        return self.gradient_accumulation is GradientAccumulation.FUSED_FP32

    def kernel(
        self,
        name: str,
        read: float,
        written: float,
        *,
        family: Family = Family.ELEMENTWISE,
        phase: Phase = Phase.FORWARD,
        split: Split | None = None,
        launches: int = 1,
        extra_read_bytes: float = 0.0,
        extra_written_bytes: float = 0.0,
    ) -> Operator:
        """Return a memory-bound operator reading and writing so many elements, and bytes of other types."""
        return memory_bound(
            name,
            family,
            read_bytes=self.element_bytes * read + extra_read_bytes,
            written_bytes=self.element_bytes * written + extra_written_bytes,
            element_bytes=self.element_bytes,
            phase=phase,
            split=split,
            launches=launches,
        )

    def kept(self, name: str, elements: int, *, split: bool = False, bulky: bool = False) -> Activation:
        """Return an activation of ``elements`` elements."""
        return Activation(name, float(self.element_bytes * elements), split, bulky)

    def kept_mask(self, name: str, elements: int, *, split: bool = False, bulky: bool = False) -> Activation:
        """Return the one-byte-an-element mask that dropout keeps."""
        return Activation(name, float(elements), split, bulky)

    def dropout_forward(self, name: str, elements: int, split: Split | None = None) -> Operator:
        """Return dropout: reads and writes every element and writes a byte mask."""
        return self.kernel(name, elements, elements, split=split, extra_written_bytes=elements)

    def dropout_backward(self, name: str, elements: int, split: Split | None = None) -> Operator:
        """Return the gradient of dropout: reads the gradient and the mask, writes the gradient."""
        return self.kernel(
            name,
            elements,
            elements,
            phase=Phase.INPUT_GRADIENT,
            split=split,
            extra_read_bytes=elements,
        )

    def accumulate(
        self, name: str, elements: int, *, tensors: int = 1, split: Split | None = None
    ) -> tuple[Operator, ...]:
        """Return the kernels that add ``tensors`` weight gradients of ``elements`` in all to their sums."""
        if self.gradient_accumulation is GradientAccumulation.NONE or not elements:
            return ()
        total_bytes = self.element_bytes if self.gradient_accumulation is GradientAccumulation.ADD else 4
        casts = self.gradient_accumulation is GradientAccumulation.CAST_ADD_FP32
        return (
            self.kernel(
                name,
                elements,
                0,
                phase=Phase.WEIGHT_GRADIENT,
                split=split,
                launches=(1 + casts) * tensors,
                extra_read_bytes=(1 + casts) * total_bytes * elements,
                extra_written_bytes=(1 + casts) * total_bytes * elements,
            ),
        )
