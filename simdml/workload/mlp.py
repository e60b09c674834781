"""The dense MLP half of a transformer block: two matrices, or three when gated."""

from __future__ import annotations

from dataclasses import replace

from simdml.workload.architecture import TransformerConfig
from simdml.workload.attention import add_residual, residual_dropout_gradient
from simdml.workload.linear import Cut, linear
from simdml.workload.microbatch import Microbatch
from simdml.workload.model import Layer
from simdml.workload.normalization import residual_gradient
from simdml.workload.operators import Phase, Split


def dense_mlp_layers(batch: Microbatch, config: TransformerConfig) -> tuple[Layer, ...]:
    """Return fc1 (gate and up as one matmul), the activation, and fc2 with dropout and the residual add."""
    return (
        _fc1_layer(batch, config),
        activation_layer(batch, "activation", batch.tokens * config.ffn, gated=config.gated),
        _fc2_layer(batch, config),
    )


def shared_expert_layers(batch: Microbatch, config: TransformerConfig) -> tuple[Layer, ...]:
    """Return the dense MLP that every token passes beside its experts (DeepSeekMoE, arXiv 2401.06066, section 3.2)."""
    dense = dense_mlp_layers(batch, replace(config, ffn=config.shared_ffn))
    return tuple(replace(layer, name=f"shared_{layer.name}") for layer in dense)


def activation_layer(batch: Microbatch, name: str, elements: int, *, gated: bool, split: bool = True) -> Layer:
    """Return GeLU (bias in the same kernel if fused) or, gated, SwiGLU giving ``elements`` elements.

    Eager SwiGLU is a SiLU kernel, whose output is kept too, and a product.
    """
    factors = 2 if gated else 1
    eager_gated = gated and not batch.fused_elementwise
    forward, backward = (factors * elements, elements), ((factors + 1) * elements, factors * elements)
    kept = [batch.kept("input", factors * elements, split=split)]
    if eager_gated:
        forward, backward = (3 * elements, 2 * elements), (6 * elements, 3 * elements)
        kept.append(batch.kept("gate_activation", elements, split=split))
    cut = Split.BATCH if split else None
    gradient = batch.kernel(
        f"{name}_gradient",
        *backward,
        phase=Phase.INPUT_GRADIENT,
        split=cut,
        launches=3 if eager_gated else 1,
    )
    return Layer(
        name=name,
        forward=(batch.kernel(name, *forward, split=cut, launches=2 if eager_gated else 1),),
        backward=(gradient,),
        activations=tuple(kept),
    )


def _fc1_layer(batch: Microbatch, config: TransformerConfig) -> Layer:
    elements = batch.tokens * config.hidden
    split_gate = config.gated and not config.merged_projections
    projection = linear(
        batch,
        "fc1",
        batch.tokens,
        config.hidden,
        config.ffn * (2 if config.gated else 1),
        cut=Cut.COLUMN,
        bias=config.mlp_bias,
        parts=(("gate", config.ffn), ("up", config.ffn)) if split_gate else (),
    )
    joined = (residual_gradient(batch, elements),) if config.post_norm else ()
    return Layer(
        name="fc1",
        forward=projection.forward,
        backward=(*projection.backward, *joined),
        parameters=projection.parameters,
        activations=(batch.kept("input", elements),),
    )


def _fc2_layer(batch: Microbatch, config: TransformerConfig) -> Layer:
    elements = batch.tokens * config.hidden
    projection = linear(batch, "fc2", batch.tokens, config.ffn, config.hidden, cut=Cut.ROW, bias=config.mlp_bias)
    return Layer(
        name="fc2",
        forward=(*projection.forward, *add_residual(batch, elements)),
        backward=(*residual_dropout_gradient(batch, elements), *projection.backward),
        parameters=projection.parameters,
        activations=(
            batch.kept("input", batch.tokens * config.ffn, split=True),
            *((batch.kept_mask("dropout_mask", elements),) if batch.dropout else ()),
        ),
    )
