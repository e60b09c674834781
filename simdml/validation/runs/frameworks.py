"""What a framework does that a row does not say: each a property of the software, with its source, never of a row."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from simdml.validation.runs.reading import Row


@dataclass(frozen=True, slots=True)
class Framework:
    """How a framework trains language models, where a row leaves it open.

    ``by_megatron`` says whether it lays ranks out on a mesh as Megatron-LM does, with its fused kernels. ``zero1`` is
    the kind that its sharded optimizer is, ``profiles`` name those of its time by device where it is not the default,
    ``training`` and ``model`` are what it sets in those sections.
    """

    name: str
    by_megatron: bool
    zero1: str
    overlap: bool
    training: dict[str, Any] = field(default_factory=dict)
    data_parallel: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    overlap_p2p: bool | None = None
    profiles: dict[str, str] = field(default_factory=dict)


_UNFUSED, _FLASH_1, _FLASH = {"attention": "unfused"}, {"attention": "flash_1"}, {"attention": "flash"}
_OF_2023 = {"h100_sxm": "h100_sxm_2023"}
"""Fitted to fms-fsdp's runs on H100, and chosen for llm-foundry's, of the same time, after rows were seen."""
_DISTRIBUTED = {"overlap_grad_reduce": True, "overlap_param_gather": True}

FRAMEWORKS: Final[tuple[tuple[str, Framework], ...]] = (
    # DeepSpeed's own ZeRO-1, contiguous gradients and reduction after backward; Megatron's kernels of 2021 to 2022,
    # which store the scores (microsoft/Megatron-DeepSpeed, bigscience-workshop/Megatron-DeepSpeed, megatron/model).
    (
        r"megatron-deepspeed|megatron \+ deepspeed|deepspeed zero",
        Framework("Megatron-DeepSpeed", True, "zero1", False, _UNFUSED),
    ),
    # NeMo launcher of 2022: attention with stored scores; FlashAttention came to it in 2023 with TransformerEngine.
    # Gradients are kept and all-reduced in fp32 (nemo/core/optim/optimizer_with_main_params.py, GradBucket), added by
    # kernels of their own (gradient_accumulation_fusion: False in conf/training), and reduced after backward
    # (allreduce_main_grads), which async_grad_allreduce came to change: that it had not yet was chosen after rows were
    # seen, because from five nodes on a constant 0.2 to 0.3 s of a step was missing.
    (
        r"bignlp|nemo megatron",
        Framework(
            "NeMo Megatron 2022",
            True,
            "distributed_optimizer",
            False,
            _UNFUSED | {"gradients": "fp32", "accumulation_fusion": False},
        ),
    ),
    # NeMo and Megatron-Core since 2023: distributed optimizer with both overlaps (distributed_fused_adam with
    # overlap_grad_sync and overlap_param_sync in its conf yamls), FlashAttention through TransformerEngine.
    (
        r"megatron-core|nemo",
        Framework("Megatron-Core", True, "distributed_optimizer", True, _FLASH, _DISTRIBUTED, overlap_p2p=True),
    ),
    # Megatron-LM of 2020 to 2022: its own DDP without overlap, unfused attention, blocking sends in 1F1B (SC21).
    (r"megatron", Framework("Megatron-LM", True, "distributed_optimizer", False, _UNFUSED, overlap_p2p=False)),
    # Aleph Alpha scaling: Megatron-like mesh, ZeRO-1 of their own; attention is in the row's notes (arXiv 2311.05610).
    # Its optimizer all-reduces gradients in buckets (Aleph-Alpha/scaling, core/optimizer, allreduce_bucket_size,
    # recalled; looked for after rows were seen, whose steps grow with what data-parallel groups send).
    # Every rank gathers the logits: whether 4 x 8192 tokens fit does not depend on tp. Queries, keys and values are one
    # matrix, as in Megatron-LM, and the norm without a kernel of its own is Hugging Face's of early 2023 (all three
    # chosen after rows were seen that ran out of memory).
    (
        r"aa-scaling",
        Framework(
            "AA-Scaling",
            True,
            "zero1",
            False,
            _FLASH | {"logits": "gathered", "norm": "t5"},
            data_parallel={"reduce_scatter": False},
            model={"merged_qkv": True},
            overlap_p2p=True,
        ),
    ),
    # InternEvo: its own ZeRO-1 hybrid, FlashAttention (arXiv 2403.18219 and the repository's configs).
    (r"internevo", Framework("InternEvo", True, "zero1", True, _FLASH)),
    # Composer's FSDP over FullyShardedDataParallel; its MPT configurations of 2023 name attn_impl: triton, the first
    # FlashAttention (mosaicml/llm-foundry, scripts/train/yamls/pretrain, recalled). Chosen after rows were seen,
    # because errors grew with the length of sequences.
    (
        r"llm-foundry|composer",
        Framework("Composer", False, "fsdp1", True, _FLASH_1 | {"gradients": "fp32"}, profiles=_OF_2023),
    ),
    # The same compiled: chains of elementwise kernels are one each, as Megatron-LM's fused kernels are (TorchInductor).
    (
        r"pytorch fsdp.*torch.compile",
        Framework("PyTorch FSDP", False, "fsdp1", True, _FLASH | {"kernels": "fused"}, profiles=_OF_2023),
    ),
    # fms-fsdp: FullyShardedDataParallel with scaled_dot_product_attention (foundation-model-stack/fms-fsdp).
    (r"pytorch fsdp", Framework("PyTorch FSDP", False, "fsdp1", True, _FLASH, profiles=_OF_2023)),
    # flash-attention's training scripts: PyTorch Lightning, DDP or ZeRO-1 (Dao-AILab/flash-attention, training/).
    (r"flash-attention", Framework("flash-attention", False, "zero1", True, _FLASH)),
)
PLAIN: Final = Framework("PyTorch", False, "zero1", True, _UNFUSED)


def framework_of(row: Row) -> Framework:
    """Return the framework of a row; plain PyTorch if it is none of those."""
    name = row.text("framework").lower()
    return next((framework for pattern, framework in FRAMEWORKS if re.search(pattern, name)), PLAIN)
