"""Builds a transformer: an embedding block, identical transformer blocks, and a head."""

from __future__ import annotations

from dataclasses import replace

from simdml.errors import DocumentError, InfeasibleError
from simdml.workload.architecture import Head, Norm, TransformerConfig
from simdml.workload.attention import attention_layer, output_layer, qkv_layer
from simdml.workload.embedding import embedding_block
from simdml.workload.experts import expert_mlp_layers
from simdml.workload.head import head_block
from simdml.workload.latent_attention import latent_layers
from simdml.workload.microbatch import AttentionKernel, GradientAccumulation, Microbatch
from simdml.workload.mlp import dense_mlp_layers
from simdml.workload.model import Block, Layer, Model, model_flops
from simdml.workload.normalization import norm_layer

__all__ = [
    "AttentionKernel",
    "GradientAccumulation",
    "Head",
    "Norm",
    "TransformerConfig",
    "build_transformer",
]


def build_transformer(
    config: TransformerConfig,
    *,
    samples: int,
    sequence: int,
    element_bytes: int = 2,
    attention: str = "unfused",
    fused_elementwise: bool = True,
    vocab_multiple: int = 1,
    dropout: bool | None = None,
    causal: bool | None = None,
    gradient_accumulation: str = "none",
    context_ways: int = 1,
    expert_load: float = 1.0,
    fused_norm: bool = False,
    norm_keeps_input: bool = False,
    gathers_logits: bool = False,
) -> Model:
    """Return one micro-batch of ``samples`` sequences of ``sequence`` tokens.

    ``attention``, kernels and ``gradient_accumulation`` are those of :class:`~simdml.workload.microbatch.Microbatch`;
    ``dropout`` and ``causal`` default to the config's.
    ``vocab_multiple`` pads the vocabulary to a multiple (Megatron-LM: 128 times the tensor-parallel degree);
    padded rows are parameters and work like the others. ``context_ways`` gives the part of a rank that has one of
    so many parts of every sequence, ``expert_load`` that of one whose experts get so many times the mean. Raises
    DocumentError for sizes below 1 and InfeasibleError for more tokens than a learned position table has rows.
    """
    _check_sizes(config, samples, sequence, element_bytes, vocab_multiple)
    config = replace(config, vocab=-(-config.vocab // vocab_multiple) * vocab_multiple)
    batch = Microbatch(
        samples=samples,
        sequence=sequence // context_ways,
        element_bytes=element_bytes,
        attention=AttentionKernel(attention),
        fused_elementwise=fused_elementwise,
        dropout=config.dropout if dropout is None else dropout,
        causal=config.causal if causal is None else causal,
        gradient_accumulation=GradientAccumulation(gradient_accumulation),
        context_ways=context_ways,
        expert_load=expert_load,
        fused_norm=fused_norm,
        norm_keeps_input=norm_keeps_input,
        gathers_logits=gathers_logits,
    )
    blocks = (embedding_block(batch, config), *_stack(batch, config), head_block(batch, config))
    return Model(
        name=config.name,
        blocks=blocks,
        samples=samples,
        sample_unit="sequences",
        tokens_per_sample=sequence,
        model_flops_per_sample=_useful_flops(replace(batch, expert_load=1.0), config, blocks) * context_ways / samples,
        element_bytes=element_bytes,
        tied=(("embedding", "head"),) if config.tied_head else (),
        tied_parameters=config.vocab * config.hidden if config.tied_head else 0,
    )


def _useful_flops(balanced: Microbatch, config: TransformerConfig, blocks: tuple[Block, ...]) -> float:
    """Return the model FLOPs of a micro-batch, the load of experts taken as even."""
    return model_flops((blocks[0], *_stack(balanced, config), blocks[-1]))


def _stack(batch: Microbatch, config: TransformerConfig) -> tuple[Block, ...]:
    """Return the blocks between embedding and head: equal ones are the same object."""
    block = transformer_block(batch, config)
    if not config.dense_layers:
        return (block,) * config.layers
    first = transformer_block(batch, replace(config, num_experts=0, shared_ffn=0, ffn=config.dense_ffn))
    first = replace(first, name="dense_block")
    return (first,) * config.dense_layers + (block,) * (config.layers - config.dense_layers)


def transformer_block(batch: Microbatch, config: TransformerConfig) -> Block:
    """Return the repeated block, its layers in forward order.

    Models whose attention and MLP run in parallel on one input (GPT-NeoX, Falcon) are built as sequential:
    the same operators, with one more kept norm input and another all-reduce under tensor parallelism.
    """
    projections = latent_layers(batch, config) if config.latent is not None else (qkv_layer(batch, config),)
    attention = (*projections, attention_layer(batch, config), output_layer(batch, config))
    build_mlp = expert_mlp_layers if config.num_experts else dense_mlp_layers
    mlp = build_mlp(batch, config)
    first, second = _norm(batch, config, "attention_norm"), _norm(batch, config, "mlp_norm")
    pre_norm, post_norm = (first, *attention, second, *mlp), (*attention, first, *mlp, second)
    layers = post_norm if config.post_norm else pre_norm
    return Block("block", layers, float(batch.element_bytes * batch.tokens * config.hidden), stacked=True)


def _norm(batch: Microbatch, config: TransformerConfig, name: str) -> Layer:
    return norm_layer(
        batch,
        name,
        config.norm,
        rows=batch.tokens,
        hidden=config.hidden,
        bias=config.norm_bias,
        joins_residual=not config.post_norm,
    )


def _check_sizes(
    config: TransformerConfig, samples: int, sequence: int, element_bytes: int, vocab_multiple: int
) -> None:
    sizes = {
        "samples": samples,
        "sequence": sequence,
        "element_bytes": element_bytes,
        "vocab_multiple": vocab_multiple,
    }
    for name, size in sizes.items():
        if size < 1:
            raise DocumentError(f"{config.name}: {name} must be at least 1, got {size}")
    if config.position_rows and sequence > config.position_rows:
        raise InfeasibleError(
            f"{config.name}: a sequence of {sequence} tokens exceeds its {config.position_rows} positions"
        )
