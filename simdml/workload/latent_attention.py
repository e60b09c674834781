"""The projections of multi-head latent attention (DeepSeek-AI, DeepSeek-V2, arXiv 2405.04434, section 2.1).

Queries come from a normalised vector of ``query_rank`` elements a token, keys and values together from one of
``key_value_rank``; the rotated part of the keys, one for all heads, comes from the hidden state with the latter.
Training computes all keys and values (huggingface/transformers, models/deepseek_v3/modeling_deepseek_v3.py;
Megatron-LM, megatron/core/transformer/multi_latent_attention.py). Projections down are whole on every tensor-parallel
rank, those up are cut by columns, as in Megatron-LM; the sum over the ranks of the gradient of the rotated key is left
out.
"""

from __future__ import annotations

from simdml.workload.architecture import Latent, TransformerConfig
from simdml.workload.linear import Cut, linear
from simdml.workload.microbatch import Microbatch
from simdml.workload.model import Layer
from simdml.workload.normalization import norm_layer
from simdml.workload.operators import Family, Operator, Phase, Split


def latent_layers(batch: Microbatch, config: TransformerConfig) -> tuple[Layer, ...]:
    """Return the projections to queries, to keys and values, and what puts the parts of heads together."""
    latent = config.latent
    assert latent is not None
    keys_and_values = config.heads * (latent.plain_size + latent.value_size)
    return (
        *_queries(batch, config, latent),
        _down(batch, config, "key_value_down", latent.key_value_rank + latent.rotary_size, joins=True),
        _norm(batch, config, "key_value_norm", latent.key_value_rank),
        _up(batch, "key_value_up", latent.key_value_rank, keys_and_values),
        _joined_heads(batch, config, latent),
    )


def _queries(batch: Microbatch, config: TransformerConfig, latent: Latent) -> tuple[Layer, ...]:
    if not latent.query_rank:
        return (_up(batch, "query", config.hidden, config.query_width),)
    return (
        _down(batch, config, "query_down", latent.query_rank, joins=False),
        _norm(batch, config, "query_norm", latent.query_rank),
        _up(batch, "query_up", latent.query_rank, config.query_width),
    )


def _down(batch: Microbatch, config: TransformerConfig, name: str, rank: int, *, joins: bool) -> Layer:
    """Return a projection of the hidden state; the one that ``joins`` sums its input's gradient with the queries'.

    The hidden state that both need is kept once.
    """
    elements = batch.tokens * config.hidden
    projection = linear(batch, name, batch.tokens, config.hidden, rank, bias=config.qkv_bias)
    total = batch.kernel(f"{name}_sum", 2 * elements, elements, phase=Phase.INPUT_GRADIENT)
    return Layer(
        name=name,
        forward=projection.forward,
        backward=(*projection.backward, *((total,) if joins else ())),
        parameters=projection.parameters,
        activations=() if joins else (batch.kept("input", elements),),
    )


def _norm(batch: Microbatch, config: TransformerConfig, name: str, rank: int) -> Layer:
    return norm_layer(batch, name, config.norm, rows=batch.tokens, hidden=rank, bias=config.norm_bias)


def _up(batch: Microbatch, name: str, rank: int, width: int) -> Layer:
    projection = linear(batch, name, batch.tokens, rank, width, cut=Cut.COLUMN)
    return Layer(
        name=name,
        forward=projection.forward,
        backward=projection.backward,
        parameters=projection.parameters,
        activations=(batch.kept("input", batch.tokens * rank),),
    )


def _joined_heads(batch: Microbatch, config: TransformerConfig, latent: Latent) -> Layer:
    """Concatenate plain and rotated parts of queries and of keys; backward splits them and sums the rotated keys'."""
    heads = batch.tokens * config.heads
    whole, rotated = heads * latent.head_size, heads * latent.rotary_size
    pairs = heads * (latent.plain_size + latent.value_size)

    def copied(name: str, read: int, written: int, phase: Phase) -> Operator:
        return batch.kernel(name, read, written, family=Family.COPY, phase=phase, split=Split.BATCH, launches=2)

    summed = batch.kernel(
        "rotated_key_gradient",
        rotated,
        batch.tokens * latent.rotary_size,
        phase=Phase.INPUT_GRADIENT,
        split=Split.BATCH,
    )
    return Layer(
        name="join_heads",
        forward=(copied("join_heads", 2 * whole, 2 * whole, Phase.FORWARD),),
        backward=(copied("join_heads_gradient", whole + pairs, whole + pairs, Phase.INPUT_GRADIENT), summed),
    )
