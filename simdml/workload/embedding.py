"""The embedding block: token, position and type tables, norm and dropout."""

from __future__ import annotations

from simdml.workload.architecture import TransformerConfig
from simdml.workload.microbatch import GradientAccumulation, Microbatch
from simdml.workload.model import Activation, Block, Layer, Parameter
from simdml.workload.normalization import norm_layer
from simdml.workload.operators import Family, Operator, Phase, Split

TOKEN_ID_BYTES = 8


def embedding_block(batch: Microbatch, config: TransformerConfig) -> Block:
    """Return tables (the token table cut over its vocabulary), the embedding norm if any, and dropout.

    Kept: 8-byte token ids and the dropout mask (the terms of Megatron-LM's
    megatron/training/theoretical_memory_usage.py).
    """
    layers = [_tables_layer(batch, config)]
    if config.embedding_norm:
        norm = norm_layer(
            batch,
            "norm",
            config.norm,
            rows=batch.tokens,
            hidden=config.hidden,
            bias=config.norm_bias,
        )
        layers.append(norm)
    if batch.dropout:
        layers.append(_dropout_layer(batch, config))
    output_bytes = float(batch.element_bytes * batch.tokens * config.hidden)
    return Block("embedding", tuple(layers), output_bytes, recomputable=False)


def _tables_layer(batch: Microbatch, config: TransformerConfig) -> Layer:
    elements = batch.tokens * config.hidden
    parameters = [Parameter("tokens", config.vocab * config.hidden, split=True, rows=config.vocab)]
    forward = [
        batch.kernel(
            "token_lookup",
            elements,
            elements,
            family=Family.EMBEDDING,
            split=Split.K,
            extra_read_bytes=TOKEN_ID_BYTES * batch.tokens,
        )
    ]
    backward: list[Operator] = []
    for table, rows in (("positions", config.position_rows), ("token_types", config.token_types)):
        if rows:
            parameters.append(Parameter(table, rows * config.hidden, rows=rows))
            forward.append(_add_table(batch, config, table))
            backward.append(_table_gradient(batch, config, table, min(rows, batch.sequence)))
    backward += _token_gradient(batch, config)
    backward += batch.accumulate("tokens_accumulate", config.vocab * config.hidden, split=Split.BATCH)
    whole = (config.position_rows + config.token_types) * config.hidden
    backward += batch.accumulate("tables_accumulate", whole, tensors=len(parameters) - 1)
    return Layer(
        name="tables",
        forward=tuple(forward),
        backward=tuple(backward),
        parameters=tuple(parameters),
        activations=(Activation("token_ids", float(TOKEN_ID_BYTES * batch.tokens)),),
    )


def _add_table(batch: Microbatch, config: TransformerConfig, table: str) -> Operator:
    """Look rows up, one a position or one a token, and add them to every token."""
    looked_up = (batch.sequence if table == "positions" else batch.tokens) * config.hidden
    elements = batch.tokens * config.hidden
    return batch.kernel(f"add_{table}", elements + 2 * looked_up, elements + looked_up, launches=2)


def _table_gradient(batch: Microbatch, config: TransformerConfig, table: str, rows: int) -> Operator:
    return batch.kernel(
        f"{table}_gradient",
        batch.tokens * config.hidden,
        rows * config.hidden,
        family=Family.EMBEDDING,
        phase=Phase.WEIGHT_GRADIENT,
    )


def _token_gradient(batch: Microbatch, config: TransformerConfig) -> list[Operator]:
    """Zero a dense gradient, scatter rows into it, and add the one that a tied head left."""
    elements, table = batch.tokens * config.hidden, config.vocab * config.hidden
    operators = [
        batch.kernel(
            "token_gradient_zero",
            0,
            table,
            family=Family.EMBEDDING,
            phase=Phase.WEIGHT_GRADIENT,
            split=Split.BATCH,
        ),
        batch.kernel(
            "token_gradient",
            elements,
            elements,
            family=Family.EMBEDDING,
            phase=Phase.WEIGHT_GRADIENT,
            extra_read_bytes=TOKEN_ID_BYTES * batch.tokens,
        ),
    ]
    if config.tied_head and batch.gradient_accumulation is GradientAccumulation.NONE:
        operators.append(
            batch.kernel("tied_gradient", 2 * table, table, phase=Phase.WEIGHT_GRADIENT, split=Split.BATCH)
        )
    return operators


def _dropout_layer(batch: Microbatch, config: TransformerConfig) -> Layer:
    elements = batch.tokens * config.hidden
    return Layer(
        name="dropout",
        forward=(batch.dropout_forward("dropout", elements),),
        backward=(batch.dropout_backward("dropout_gradient", elements),),
        activations=(batch.kept_mask("dropout_mask", elements),),
    )
