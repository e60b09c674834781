"""The ``training`` section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from simdml.documents.quantities import Count, DocumentModel

PrecisionName = Literal["fp32", "tf32", "fp16", "bf16", "fp8"]
OptimizerName = Literal["sgd", "sgd_momentum", "adam", "adamw", "bert_adam", "lamb"]
DispatchName = Literal["megatron", "pytorch", "compiled", "graph", "tensorflow", "mxnet", "cuda_graphs"]


class TrainingSpec(DocumentModel):
    """What one step trains, and with which arithmetic."""

    batch_per_gpu: Count | None = None
    """Samples a step on each GPU, where every GPU holds a whole model (data parallel, parameter server)."""
    global_batch: Count | None = None
    """Samples a step over the whole job."""
    microbatch: Count | None = None
    """Samples in one forward and backward pass; by default all samples of a GPU, without a pipeline."""
    batch_share: dict[str, Annotated[float, Field(gt=0)]] | None = None
    """What a GPU of each group of nodes trains, relative to the others: {a100: 1, h100: 2}; all the same by default."""
    sequence: Count | None = None
    """Tokens of a sample; the model's own length by default."""
    precision: PrecisionName = "fp32"
    """Arithmetic and weights; fp32 as in PyTorch. fp16, bf16 and fp8 (products alone, else bf16) keep fp32 masters."""
    optimizer: OptimizerName | None = None
    """The optimizer; by default adam for sequences (Megatron-LM) and sgd_momentum for images (torchvision)."""
    recompute: Literal["none", "selective", "full", "stage", "stage_except_last"] = "none"
    """Whether forward is run again in backward instead of keeping activations; none in PyTorch and Megatron-LM."""
    recompute_stops_early: bool | None = None
    """Whether that stops at the last tensor backward needs (torch.utils.checkpoint, not reentrant); yes with FSDP."""
    primary_weights: Literal["bf16", "fp8"] = "bf16"
    """With precision fp8: bf16 weights beside their 8-bit copies, as TransformerEngine keeps them, or the copies alone
    (fp8_params of NeMo, --fp8-param-gather of Megatron-LM)."""
    gradients: Literal["fp32", "fp16", "bf16"] | None = None
    """The type gradients are kept and reduced in; that of the weights by default (PyTorch)."""
    accumulation_fusion: bool | None = None
    """Whether products add to fp32 gradients themselves, not kernels after them; as Megatron-LM, no with DeepSpeed."""
    attention: Literal["unfused", "fused_softmax", "fp32_softmax", "flash_1", "flash", "flash_3"] = "unfused"
    """Kernels that store the scores (softmax fused among eager kernels, or in fp32), or FlashAttention 1 to 3."""
    autocast: bool = False
    """Half precision: fp32 weights converted where they are used (torch.autocast), not half ones with fp32 masters."""
    clip_gradients: bool = False
    """Whether gradients are clipped by their global norm; no here, though Megatron-LM does (it takes under 0.2 %)."""
    kernels: Literal["fused", "eager", "operations"] | None = None
    """Megatron-LM's fused (default with a mesh or pipeline), PyTorch eager's, or TensorFlow 1's, one an operation."""
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    """How images lie in memory: contiguous (PyTorch), or channels_last, which tensor cores need not convert."""
    fused_batch_norm: bool = False
    """Whether batch norm adds the residual and applies the ReLU too (cuDNN on channels_last); no in PyTorch."""
    norm: Literal["fused", "t5"] | None = None
    """Whether a root-mean-square norm is one kernel (FlashAttention's, Apex's) or a chain of them; as the kernels.
    t5 is the chain of T5 and of Hugging Face's first Llama, which keeps its input beside the copy in fp32."""
    logits: Literal["split", "gathered"] = "split"
    """What tensor-parallel ranks compute the loss of: their part of the vocabulary (Megatron-LM), or all of it each."""
    dispatch: DispatchName | None = None
    """What the host does for a kernel: as Megatron-LM, eager PyTorch, graphs, TensorFlow's, MXNet's or CUDA's do."""
    fused_optimizer: bool | None = None
    """Whether one kernel does the whole update (fused=True in torch.optim), or several; as the kernels by default."""

    @model_validator(mode="after")
    def _one_batch(self) -> TrainingSpec:
        given = [key for key in ("batch_per_gpu", "global_batch") if getattr(self, key) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "neither"
            raise ValueError(f"training needs exactly one of batch_per_gpu and global_batch, found {found}")
        return self
