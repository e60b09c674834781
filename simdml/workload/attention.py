"""The attention half of a transformer block: projections, the core over heads, and the output.

Kept activations follow Korthikanti et al., arXiv 2205.05198, section 4: of sbh(34 + 5as/h) bytes at 2 bytes an
element, 11sbh + 5abs² belong to attention.
"""

from __future__ import annotations

from typing import Final

from simdml.workload.architecture import TransformerConfig
from simdml.workload.linear import Cut, linear
from simdml.workload.microbatch import Microbatch
from simdml.workload.model import Activation, Attends, Layer
from simdml.workload.normalization import residual_gradient
from simdml.workload.operators import Family, Operator, Phase, Split, attention, batched_matmul

ATTENTION_OUTPUT: Final = "attention_output"
"""The layer that keeps attention's output as its input."""


def qkv_layer(batch: Microbatch, config: TransformerConfig) -> Layer:
    """Return the projection to queries, keys and values, cut by columns; Megatron-LM adds its bias apart."""
    width = config.query_width + 2 * config.key_width
    parts = (("query", config.query_width), ("key", config.key_width), ("value", config.key_width))
    projection = linear(
        batch,
        "qkv",
        batch.tokens,
        config.hidden,
        width,
        cut=Cut.COLUMN,
        bias=config.qkv_bias,
        bias_kernel=batch.fused_elementwise,
        parts=() if config.merges_qkv else parts,
    )
    elements = batch.tokens * config.hidden
    joined = (residual_gradient(batch, elements),) if config.post_norm else ()
    return Layer(
        name="qkv",
        forward=projection.forward,
        backward=(*projection.backward, *joined),
        parameters=projection.parameters,
        activations=(batch.kept("input", elements),),
    )


def attention_layer(batch: Microbatch, config: TransformerConfig) -> Layer:
    """Return the core: scores, softmax, dropout and the weighted sum of values, divided over heads."""
    if not batch.attention.stores_scores:
        return _flash_layer(batch, config)
    core_forward, core_backward = _unfused_core(batch, config)
    widths = _Widths(batch, config)
    merge = _copy(batch, "merge_heads", widths.output)
    eager = not batch.fused_elementwise
    split_heads = (_copy(batch, "split_heads", widths.qkv, launches=3),) if eager else ()
    merge_gradient = (_copy(batch, "merge_heads_gradient", widths.output, Phase.INPUT_GRADIENT),) if eager else ()
    return Layer(
        name="attention",
        forward=(
            *_rotary(batch, config, widths, Phase.FORWARD),
            *split_heads,
            *_repeat_keys(batch, config, widths, Phase.FORWARD),
            *core_forward,
            merge,
        ),
        backward=(
            *merge_gradient,
            *core_backward,
            *_repeat_keys(batch, config, widths, Phase.INPUT_GRADIENT),
            *_rotary(batch, config, widths, Phase.INPUT_GRADIENT),
            *_gather_gradients(batch, config, widths),
        ),
        activations=(
            batch.kept("query", widths.query, split=True),
            batch.kept("key", widths.query, split=True),
            batch.kept("value", widths.output, split=True),
            *_kept_scores(batch, config),
        ),
        attends=_attends(batch, config, widths),
        passing=(_passing_scores(batch, widths.scores),),
    )


def output_layer(batch: Microbatch, config: TransformerConfig) -> Layer:
    """Return the output projection, cut by rows, with dropout and the residual add."""
    projection = linear(
        batch,
        ATTENTION_OUTPUT,
        batch.tokens,
        config.output_width,
        config.hidden,
        cut=Cut.ROW,
        bias=config.output_bias,
    )
    elements = batch.tokens * config.hidden
    return Layer(
        name=ATTENTION_OUTPUT,
        forward=(*projection.forward, *add_residual(batch, elements)),
        backward=(*residual_dropout_gradient(batch, elements), *projection.backward),
        parameters=projection.parameters,
        activations=(
            batch.kept("input", batch.tokens * config.output_width, split=True),
            *((batch.kept_mask("dropout_mask", elements),) if batch.dropout else ()),
        ),
    )


def add_residual(batch: Microbatch, elements: int) -> tuple[Operator, ...]:
    """Return bias, dropout and residual add: one kernel, or one for each of dropout and add."""
    if batch.fused_elementwise:
        mask_bytes = elements if batch.dropout else 0
        fused = batch.kernel("bias_dropout_add", 2 * elements, elements, extra_written_bytes=mask_bytes)
        return (fused,)
    add = batch.kernel("add_residual", 2 * elements, elements)
    return (batch.dropout_forward("dropout", elements), add) if batch.dropout else (add,)


def residual_dropout_gradient(batch: Microbatch, elements: int) -> tuple[Operator, ...]:
    """Return the gradient through the dropout before a residual add; the add itself passes it on unchanged."""
    return (batch.dropout_backward("dropout_gradient", elements),) if batch.dropout else ()


class _Widths:
    """Elements of the tensors around the core: all queries, keys, values and outputs, and the first three together."""

    def __init__(self, batch: Microbatch, config: TransformerConfig) -> None:
        self.query = batch.tokens * config.query_width
        self.key = batch.tokens * config.key_width
        self.value = batch.tokens * config.kv_heads * config.value_size
        self.output = batch.tokens * config.output_width
        self.qkv = self.query + self.key + self.value
        self.scores = batch.samples * config.heads * batch.sequence * batch.keys


def _flash_layer(batch: Microbatch, config: TransformerConfig) -> Layer:
    """One kernel a direction; gradients of merged projections are copied together.

    Its output is counted as the input that the output projection keeps; the fp32 log-sum-exp a row is not
    counted, as in the paper.
    """
    widths = _Widths(batch, config)
    kernels = tuple(
        attention(
            name,
            batch=batch.samples,
            heads=config.heads,
            kv_heads=config.kv_heads,
            sequence=batch.sequence,
            keys=batch.keys,
            head_size=config.head_size,
            value_size=config.value_size,
            element_bytes=batch.element_bytes,
            causal=batch.causal,
            phase=phase,
            generation=batch.attention.generation,
        )
        for name, phase in (
            ("flash_attention", Phase.FORWARD),
            ("flash_attention_gradient", Phase.INPUT_GRADIENT),
        )
    )
    return Layer(
        name="attention",
        forward=(*_rotary(batch, config, widths, Phase.FORWARD), kernels[0]),
        backward=(
            kernels[1],
            *_rotary(batch, config, widths, Phase.INPUT_GRADIENT),
            *_gather_gradients(batch, config, widths),
        ),
        activations=(
            batch.kept("query", widths.query, split=True),
            batch.kept("key", widths.key, split=True),
            _kept_value(batch, config, widths),
        ),
        attends=_attends(batch, config, widths),
    )


def _kept_value(batch: Microbatch, config: TransformerConfig, widths: _Widths) -> Activation:
    """Return what keeping the values keeps: all of a merged projection whose queries and keys were copied by rotating.

    Autograd saves the values as a view, so the projection's whole output stays alive beside the rotated copies.
    """
    rotated = config.rotary and config.merges_qkv and config.latent is None
    return batch.kept("value", widths.qkv if rotated else widths.value, split=True)


def _attends(batch: Microbatch, config: TransformerConfig, widths: _Widths) -> Attends:
    elements = (widths.query, widths.key, widths.value, widths.output)
    sizes = (float(batch.element_bytes * count) for count in elements)
    return Attends(config.heads, config.kv_heads, config.value_size, *sizes)


def _unfused_core(batch: Microbatch, config: TransformerConfig) -> tuple[tuple[Operator, ...], tuple[Operator, ...]]:
    scores = batch.samples * config.heads * batch.sequence * batch.keys
    masked = _fused_softmax(batch, scores) if batch.fuses_softmax else _eager_softmax(batch, scores)
    dropped: tuple[Operator, ...] = ()
    dropped_gradient: tuple[Operator, ...] = ()
    if batch.dropout:
        dropped = (batch.dropout_forward("attention_dropout", scores, Split.BATCH),)
        dropped_gradient = (batch.dropout_backward("attention_dropout_gradient", scores, Split.BATCH),)
    forward = (
        _scores_product(batch, config, "query_key", config.head_size),
        *masked[0],
        *dropped,
        _values_product(batch, config, "attention_values", config.value_size),
    )
    backward = (
        _scores_product(batch, config, "probability_gradient", config.value_size, Phase.INPUT_GRADIENT),
        _values_product(batch, config, "value_gradient", config.value_size, Phase.INPUT_GRADIENT, of_keys=True),
        *dropped_gradient,
        *masked[1],
        _values_product(batch, config, "query_gradient", config.head_size, Phase.INPUT_GRADIENT),
        _values_product(batch, config, "key_gradient", config.head_size, Phase.INPUT_GRADIENT, of_keys=True),
    )
    return forward, backward


def _scores_product(
    batch: Microbatch, config: TransformerConfig, name: str, head_size: int, phase: Phase = Phase.FORWARD
) -> Operator:
    """(queries, head) @ (head, keys) for every head: queries with keys, output gradient with values."""
    return batched_matmul(
        name,
        batch.samples * config.heads,
        batch.sequence,
        batch.keys,
        head_size,
        element_bytes=batch.element_bytes,
        phase=phase,
        split=Split.BATCH,
    )


def _values_product(
    batch: Microbatch,
    config: TransformerConfig,
    name: str,
    head_size: int,
    phase: Phase = Phase.FORWARD,
    *,
    of_keys: bool = False,
) -> Operator:
    """(queries, keys) @ (keys, head) for every head: the output and the queries' gradient; transposed ``of_keys``."""
    rows, depth = (batch.keys, batch.sequence) if of_keys else (batch.sequence, batch.keys)
    return batched_matmul(
        name,
        batch.samples * config.heads,
        rows,
        head_size,
        depth,
        element_bytes=batch.element_bytes,
        phase=phase,
        split=Split.BATCH,
    )


def _fused_softmax(batch: Microbatch, scores: int) -> tuple[tuple[Operator, ...], tuple[Operator, ...]]:
    """Scale, mask and softmax in one kernel; the causal one reads the lower triangle and writes the square."""
    read = scores / 2 if batch.causal else scores
    forward = batch.kernel("scale_mask_softmax", read, scores, family=Family.SOFTMAX, split=Split.BATCH)
    backward = batch.kernel(
        "scale_mask_softmax_gradient",
        2 * read,
        scores,
        family=Family.SOFTMAX,
        phase=Phase.INPUT_GRADIENT,
        split=Split.BATCH,
    )
    return (forward,), (backward,)


def _eager_softmax(batch: Microbatch, scores: int) -> tuple[tuple[Operator, ...], tuple[Operator, ...]]:
    """Scale, mask and softmax, a kernel each; softmax between casts to fp32 and back where the batch says so.

    That is what Megatron-LM's unfused path does (megatron/model/fused_softmax.py, softmax_in_fp32).
    """
    half = float(batch.element_bytes * scores)
    full = 4.0 * scores if batch.casts_scores else half

    def kernel(name: str, phase: Phase, read: float, written: float, family: Family = Family.ELEMENTWISE) -> Operator:
        return batch.kernel(
            name,
            0,
            0,
            family=family,
            phase=phase,
            split=Split.BATCH,
            extra_read_bytes=read,
            extra_written_bytes=written,
        )

    def casts(name: str, phase: Phase) -> tuple[tuple[Operator, ...], tuple[Operator, ...]]:
        if not batch.casts_scores:
            return (), ()
        return (kernel(f"{name}_to_fp32", phase, half, full),), (kernel(f"{name}_from_fp32", phase, full, half),)

    to_fp32, from_fp32 = casts("scores", Phase.FORWARD)
    gradient_to_fp32, gradient_from_fp32 = casts("scores_gradient", Phase.INPUT_GRADIENT)
    forward = (
        kernel("scale", Phase.FORWARD, half, half),
        kernel("mask", Phase.FORWARD, half, half),
        *to_fp32,
        kernel("softmax", Phase.FORWARD, full, full, Family.SOFTMAX),
        *from_fp32,
    )
    backward = (
        *gradient_to_fp32,
        kernel("softmax_gradient", Phase.INPUT_GRADIENT, 2 * full, full, Family.SOFTMAX),
        *gradient_from_fp32,
        kernel("mask_gradient", Phase.INPUT_GRADIENT, half, half),
        kernel("scale_gradient", Phase.INPUT_GRADIENT, half, half),
    )
    return forward, backward


def _kept_scores(batch: Microbatch, config: TransformerConfig) -> tuple[Activation, ...]:
    """Return the three tensors of scores that selective recomputation does not keep (arXiv 2205.05198, section 5).

    An fp32 softmax between casts keeps its own output beside them.
    """
    scores = batch.samples * config.heads * batch.sequence * batch.keys
    probabilities = batch.kept("probabilities", scores, split=True, bulky=True)
    if batch.casts_scores:
        probabilities = Activation("probabilities", (4.0 + batch.element_bytes) * scores, split=True, bulky=True)
    if not batch.dropout:
        return (probabilities,)
    return (
        probabilities,
        batch.kept_mask("attention_dropout_mask", scores, split=True, bulky=True),
        batch.kept("dropped_probabilities", scores, split=True, bulky=True),
    )


def _passing_scores(batch: Microbatch, scores: int) -> Activation:
    """Return the gradients of scores in backward: one, in place, of the fused softmax.

    Of eager kernels they are those of probabilities and scores, with casts in fp32 beside that of the probabilities.
    """
    half = batch.element_bytes
    nbytes = half if batch.fuses_softmax else half + 8 if batch.casts_scores else 2 * half
    return Activation("scores_gradient", float(nbytes * scores), split=True, bulky=True)


def _rotary(batch: Microbatch, config: TransformerConfig, widths: _Widths, phase: Phase) -> tuple[Operator, ...]:
    """Rotary embedding of queries and keys, or its gradient: the same traffic; of their rotated parts if latent.

    Eager, on each: negate a half, join the halves, two products and a sum, 5.5 reads and 4.5 writes.
    """
    if not config.rotary:
        return ()
    elements = widths.query + widths.key
    if config.latent is not None:
        elements = batch.tokens * config.latent.rotary_size * (config.heads + 1)
    read, written, launches = (1.0, 1.0, 1) if batch.fused_elementwise else (5.5, 4.5, 10)
    name = "rotary" if phase is Phase.FORWARD else "rotary_gradient"
    return (
        batch.kernel(
            name,
            read * elements,
            written * elements,
            phase=phase,
            split=Split.BATCH,
            launches=launches,
        ),
    )


def _repeat_keys(batch: Microbatch, config: TransformerConfig, widths: _Widths, phase: Phase) -> tuple[Operator, ...]:
    """Unfused attention repeats grouped keys and values for every query head, and sums their gradients."""
    if config.kv_heads == config.heads:
        return ()
    grouped, repeated = 2 * widths.key, 2 * widths.query
    forward = phase is Phase.FORWARD
    return (
        batch.kernel(
            "repeat_keys" if forward else "repeat_keys_gradient",
            grouped if forward else repeated,
            repeated if forward else grouped,
            family=Family.COPY,
            phase=phase,
            split=Split.BATCH,
            launches=2,
        ),
    )


def _gather_gradients(batch: Microbatch, config: TransformerConfig, widths: _Widths) -> tuple[Operator, ...]:
    """Copies that bring gradients of heads back to the projections' layout, and join merged projections."""
    operators = []
    if batch.attention.stores_scores and not batch.fused_elementwise:
        elements = widths.query + widths.key
        operators.append(_copy(batch, "split_heads_gradient", elements, Phase.INPUT_GRADIENT, launches=2))
    if config.merges_qkv:
        operators.append(_copy(batch, "qkv_gradient", widths.qkv, Phase.INPUT_GRADIENT))
    return tuple(operators)


def _copy(batch: Microbatch, name: str, elements: int, phase: Phase = Phase.FORWARD, launches: int = 1) -> Operator:
    return batch.kernel(
        name,
        elements,
        elements,
        family=Family.COPY,
        phase=phase,
        split=Split.BATCH,
        launches=launches,
    )
