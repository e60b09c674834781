"""What follows the last block: final norm, logits over the vocabulary, and the cross entropy.

Kept at 2 bytes an element: 4sbh + 4sbV, the output-layer term of Megatron-LM's
megatron/training/theoretical_memory_usage.py.
"""

from __future__ import annotations

from simdml.workload.architecture import Head, TransformerConfig
from simdml.workload.linear import Cut, linear
from simdml.workload.microbatch import Microbatch
from simdml.workload.mlp import activation_layer
from simdml.workload.model import Activation, Block, Layer
from simdml.workload.normalization import norm_layer
from simdml.workload.operators import Family, Operator, Phase, Split


def predicted_rows(batch: Microbatch, config: TransformerConfig) -> int:
    """Return the tokens of a micro-batch that get logits: all, or ``predictions`` of every sequence."""
    return batch.samples * config.predictions if config.predictions else batch.tokens


def head_block(batch: Microbatch, config: TransformerConfig) -> Block:
    """Return the head; its output is a scalar loss, so nothing crosses further."""
    layers: list[Layer] = []
    if not config.post_norm:
        layers.append(_norm(batch, config, "final_norm", batch.tokens))
    if config.head == Head.BERT:
        layers += _bert_layers(batch, config)
    layers += [_logits_layer(batch, config), _loss_layer(batch, config)]
    return Block("head", tuple(layers), output_bytes=0.0, recomputable=False)


def _norm(batch: Microbatch, config: TransformerConfig, name: str, rows: int) -> Layer:
    return norm_layer(batch, name, config.norm, rows=rows, hidden=config.hidden, bias=config.norm_bias)


def _bert_layers(batch: Microbatch, config: TransformerConfig) -> list[Layer]:
    """BERT's pooler on the first token, next-sentence classifier, and transform before the logits.

    Every position gets logits, as in Hugging Face BertForPreTraining, or the masked ones alone, as in the original.
    """
    width, rows = config.hidden, predicted_rows(batch, config)
    elements = rows * width
    gelu = activation_layer(batch, "transform_activation", elements, gated=False, split=False)
    return [
        _dense(batch, "pooler", batch.samples, width, width),
        _dense(batch, "next_sentence", batch.samples, width, 2),
        *([_gather(batch, elements, batch.tokens * width)] if rows < batch.tokens else []),
        _dense(batch, "transform", rows, width, width),
        gelu,
        _norm(batch, config, "transform_norm", rows),
    ]


def _gather(batch: Microbatch, elements: int, all_elements: int) -> Layer:
    """Pick the masked positions; the gradient of the others is 0 (gather_indexes in google-research/bert)."""
    forward = batch.kernel("gather", elements, elements, family=Family.EMBEDDING)
    backward = batch.kernel(
        "gather_gradient", elements, all_elements, family=Family.EMBEDDING, phase=Phase.INPUT_GRADIENT, launches=2
    )
    return Layer(name="gather", forward=(forward,), backward=(backward,))


def _dense(batch: Microbatch, name: str, rows: int, inputs: int, outputs: int) -> Layer:
    projection = linear(batch, name, rows, inputs, outputs, bias=True)
    return Layer(
        name=name,
        forward=projection.forward,
        backward=projection.backward,
        parameters=projection.parameters,
        activations=(batch.kept("input", rows * inputs),),
    )


def _logits_layer(batch: Microbatch, config: TransformerConfig) -> Layer:
    """Logits, cut over the vocabulary; a tied weight belongs to the embedding block."""
    projection = linear(
        batch,
        "logits",
        predicted_rows(batch, config),
        config.hidden,
        config.vocab,
        cut=Cut.COLUMN,
        bias=config.head == Head.BERT,
    )
    owned = tuple(p for p in projection.parameters if not (config.tied_head and p.name == "weight"))
    return Layer(
        name="logits",
        forward=projection.forward,
        backward=projection.backward,
        parameters=owned,
        activations=(batch.kept("input", predicted_rows(batch, config) * config.hidden),),
    )


def _loss_layer(batch: Microbatch, config: TransformerConfig) -> Layer:
    """Cross entropy in fp32; the log-probabilities (or probabilities) are kept.

    Gathered logits are whole on every tensor-parallel rank, with or without sequence parallelism.
    """
    logits = predicted_rows(batch, config) * config.vocab
    whole = batch.gathers_logits
    kernels = _parallel_cross_entropy if batch.fused_elementwise else _eager_cross_entropy
    forward, backward = kernels(batch, logits)
    return Layer(
        name="loss",
        forward=forward,
        backward=backward,
        activations=(Activation("probabilities", 4.0 * logits, split=not whole, whole=whole),),
        passing=(Activation("logits", _passing_bytes(batch) * logits, split=not whole, whole=whole),),
        gathered_bytes=float(batch.element_bytes * logits) if whole else 0.0,
    )


def _passing_bytes(batch: Microbatch) -> float:
    """Return the bytes a logit beside the kept probability when most are there.

    Gathered: the logits, which the training loop holds as the model's output, and their fp32 copy, which the loss
    function holds; then the gradients of log-probabilities and of fp32 logits (torch.nn.functional.cross_entropy).
    Megatron-LM's cross entropy works in place: the logits beside their fp32 copy in forward, or in backward the
    gradient beside its cast. Nothing is counted of other eager losses, which may be one kernel (FlashAttention's).
    """
    copy = 0.0 if batch.element_bytes == 4 else 4.0
    if batch.gathers_logits:
        return batch.element_bytes + copy + 8.0
    return batch.element_bytes + copy if batch.fused_elementwise else 0.0


def _parallel_cross_entropy(batch: Microbatch, logits: int) -> tuple[tuple[Operator, ...], tuple[Operator, ...]]:
    """Megatron-LM's (megatron/mpu/cross_entropy.py): max, subtract, exp, sum and divide are kernels."""
    forward = _loss_kernel(batch, "loss", Phase.FORWARD, logits, read=20, written=12, launches=5)
    backward = _loss_kernel(batch, "loss_gradient", Phase.INPUT_GRADIENT, logits, read=4, written=4)
    return _with_casts(batch, logits, forward, backward)


def _eager_cross_entropy(batch: Microbatch, logits: int) -> tuple[tuple[Operator, ...], tuple[Operator, ...]]:
    """Log-softmax reads its input twice; its gradient reads the gradient twice and the output once."""
    forward = _loss_kernel(batch, "loss", Phase.FORWARD, logits, read=8, written=4, launches=2)
    backward = _loss_kernel(batch, "loss_gradient", Phase.INPUT_GRADIENT, logits, read=12, written=8, launches=3)
    return _with_casts(batch, logits, forward, backward)


def _with_casts(
    batch: Microbatch, logits: int, forward: Operator, backward: Operator
) -> tuple[tuple[Operator, ...], tuple[Operator, ...]]:
    if batch.element_bytes == 4:
        return (forward,), (backward,)
    fp32_bytes = 4.0 * logits
    to_fp32 = batch.kernel("logits_to_fp32", logits, 0, split=Split.BATCH, extra_written_bytes=fp32_bytes)
    back = batch.kernel(
        "logits_gradient_cast",
        0,
        logits,
        phase=Phase.INPUT_GRADIENT,
        split=Split.BATCH,
        extra_read_bytes=fp32_bytes,
    )
    return (to_fp32, forward), (backward, back)


def _loss_kernel(
    batch: Microbatch,
    name: str,
    phase: Phase,
    logits: int,
    *,
    read: int,
    written: int,
    launches: int = 1,
) -> Operator:
    return batch.kernel(
        name,
        0,
        0,
        family=Family.LOSS,
        phase=phase,
        split=Split.BATCH,
        launches=launches,
        extra_read_bytes=float(read * logits),
        extra_written_bytes=float(written * logits),
    )
