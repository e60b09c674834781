"""Operators: what one kernel of a training step computes and moves.

An operator is the atom of work. It says what is done (family, shape, FLOPs, bytes), never how long it takes:
seconds are given by :mod:`simdml.costs` for a profile. A multiply-add counts as 2 FLOPs, as in
``torch.utils.flop_counter.FlopCounterMode``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum


class Family(StrEnum):
    """Kernels that share an efficiency curve."""

    MATMUL = "matmul"
    BATCHED_MATMUL = "batched_matmul"
    ATTENTION = "attention"
    CONVOLUTION = "convolution"
    NORMALIZATION = "normalization"
    SOFTMAX = "softmax"
    ELEMENTWISE = "elementwise"
    POOLING = "pooling"
    EMBEDDING = "embedding"
    LOSS = "loss"
    OPTIMIZER = "optimizer"
    COPY = "copy"


class Phase(StrEnum):
    """Where in a step an operator runs: forward, and the two halves of backward."""

    FORWARD = "forward"
    INPUT_GRADIENT = "input_gradient"
    WEIGHT_GRADIENT = "weight_gradient"
    UPDATE = "update"


class Split(StrEnum):
    """Which dimension tensor parallelism divides.

    ``M``, ``N`` and ``K`` are the dimensions of ``(m, k) @ (k, n)``; splitting the contraction ``K`` leaves a
    partial sum of the whole ``(m, n)`` output on every rank, which must be all-reduced. ``BATCH`` divides
    independent products or elements (attention heads, activations of split layers). A memory-bound operator
    with ``K`` (a vocabulary-parallel lookup) does its whole traffic on every rank and leaves a partial sum.
    """

    M = "m"
    N = "n"
    K = "k"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class Operator:
    """One kernel: ``flops`` of arithmetic, ``read_bytes`` and ``written_bytes`` of device memory traffic.

    ``shape`` is ``(m, n, k)`` for MATMUL, ``(batch, m, n, k)`` for BATCHED_MATMUL, ``(batch, heads, query
    length, key length, head size)`` for ATTENTION and ``(batch, c_in, c_out, kernel_h, kernel_w, out_h, out_w,
    stride, groups)`` for CONVOLUTION (the forward's numbers in all three phases); empty for the memory-bound
    families and for a product known by its FLOPs alone. ``element_bytes`` is the size of one operand element.
    ``launches`` is the number of kernels behind it. ``causal`` is for ATTENTION: ``flops`` count the full
    square of scores as FlopCounterMode does, ``executed_flops`` the half that the kernel runs. ``generation`` is that
    of FlashAttention, for ATTENTION. ``layout`` is how images lie in memory, ``"nchw"`` or ``"nhwc"`` (channels last);
    empty for what is not of images.
    """

    name: str
    family: Family
    phase: Phase
    flops: float
    read_bytes: float
    written_bytes: float
    shape: tuple[int, ...] = ()
    element_bytes: int = 4
    split: Split | None = None
    launches: int = 1
    causal: bool = False
    generation: int = 2
    layout: str = ""

    @property
    def executed_flops(self) -> float:
        """FLOPs that the kernel executes: half of ``flops`` for causal attention, else all of them."""
        return self.flops / 2 if self.causal else self.flops

    @property
    def bytes(self) -> float:
        """Device memory traffic, read and written."""
        return self.read_bytes + self.written_bytes

    @property
    def leaves_partial_sum(self) -> bool:
        """Whether tensor parallelism leaves a partial sum of ``written_bytes`` to all-reduce."""
        return self.split is Split.K


def matmul(
    name: str,
    m: int,
    n: int,
    k: int,
    *,
    element_bytes: int,
    phase: Phase = Phase.FORWARD,
    split: Split | None = None,
    accumulate: bool = False,
) -> Operator:
    """Return ``(m, k) @ (k, n)``: 2mnk FLOPs; with ``accumulate`` the output is fp32, read and written."""
    output_element = 4 if accumulate else element_bytes
    return Operator(
        name=name,
        family=Family.MATMUL,
        phase=phase,
        flops=2.0 * m * n * k,
        read_bytes=float(element_bytes * (m * k + k * n) + (4 * m * n if accumulate else 0)),
        written_bytes=float(output_element * m * n),
        shape=(m, n, k),
        element_bytes=element_bytes,
        split=split,
    )


def batched_matmul(
    name: str,
    batch: int,
    m: int,
    n: int,
    k: int,
    *,
    element_bytes: int,
    phase: Phase = Phase.FORWARD,
    split: Split | None = None,
    accumulate: bool = False,
    launches: int = 1,
) -> Operator:
    """Return ``batch`` independent products ``(m, k) @ (k, n)``: 2·batch·mnk FLOPs.

    With ``accumulate`` the output is fp32 and read as well as written.
    """
    output_element = 4 if accumulate else element_bytes
    return Operator(
        name=name,
        family=Family.BATCHED_MATMUL,
        phase=phase,
        flops=2.0 * batch * m * n * k,
        read_bytes=float(batch * (element_bytes * (m * k + k * n) + (4 * m * n if accumulate else 0))),
        written_bytes=float(output_element * batch * m * n),
        shape=(batch, m, n, k),
        element_bytes=element_bytes,
        split=split,
        launches=launches,
    )


def attention(
    name: str,
    *,
    batch: int,
    heads: int,
    kv_heads: int,
    sequence: int,
    head_size: int,
    element_bytes: int,
    causal: bool,
    phase: Phase = Phase.FORWARD,
    keys: int | None = None,
    value_size: int | None = None,
    generation: int = 2,
) -> Operator:
    """Return a FlashAttention kernel, forward or (``INPUT_GRADIENT``) backward, split over heads.

    Queries are of ``sequence`` tokens, keys and values of ``keys``, the same number unless given. Heads of queries and
    keys have ``head_size`` elements, those of values and outputs ``value_size``, the same unless given.

    Forward is two products per head, backward five, because it computes the scores again (Dao, arXiv
    2307.08691, section 3.1); one and two of them are with values. Forward reads Q, K, V and writes O and the fp32
    log-sum-exp; backward reads Q, K, V, O, dO and the log-sum-exp and writes dQ, dK, dV.
    """
    keys = sequence if keys is None else keys
    value_size = head_size if value_size is None else value_size
    of_queries, of_keys = (element_bytes * batch * rows for rows in (heads * sequence, kv_heads * keys))
    query, output = of_queries * head_size, of_queries * value_size
    read = query + of_keys * (head_size + value_size)
    log_sum_exp = 4 * batch * heads * sequence
    forward = phase is Phase.FORWARD
    depth = head_size + value_size if forward else 3 * head_size + 2 * value_size
    return Operator(
        name=name,
        family=Family.ATTENTION,
        phase=phase,
        flops=2.0 * batch * heads * sequence * keys * depth,
        read_bytes=float(read if forward else read + 2 * output + log_sum_exp),
        written_bytes=float(output + log_sum_exp if forward else read),
        shape=(batch, heads, sequence, keys, head_size),
        element_bytes=element_bytes,
        split=Split.BATCH,
        launches=1 if forward else 3,
        causal=causal,
        generation=generation,
    )


def convolution(
    name: str,
    *,
    batch: int,
    channels: tuple[int, int],
    kernel: tuple[int, int],
    image: tuple[int, int],
    output: tuple[int, int],
    stride: int,
    groups: int = 1,
    element_bytes: int,
    phase: Phase = Phase.FORWARD,
) -> Operator:
    """Return a 2-D convolution of ``channels`` (in, out): 2·out·C_in/groups·kernel FLOPs in every phase.

    It reads two of input, weight and output (or their gradients) and writes the third.
    """
    c_in, c_out = channels
    tensors = {
        Phase.INPUT_GRADIENT: batch * c_in * math.prod(image),
        Phase.WEIGHT_GRADIENT: c_out * (c_in // groups) * math.prod(kernel),
        Phase.FORWARD: batch * c_out * math.prod(output),
    }
    written = tensors[phase]
    return Operator(
        name=name,
        family=Family.CONVOLUTION,
        phase=phase,
        flops=2.0 * tensors[Phase.FORWARD] * (c_in // groups) * math.prod(kernel),
        read_bytes=float(element_bytes * (sum(tensors.values()) - written)),
        written_bytes=float(element_bytes * written),
        shape=(batch, c_in, c_out, *kernel, *output, stride, groups),
        element_bytes=element_bytes,
        layout="nchw",
    )


def memory_bound(
    name: str,
    family: Family,
    *,
    read_bytes: float,
    written_bytes: float,
    flops: float = 0.0,
    element_bytes: int,
    phase: Phase = Phase.FORWARD,
    split: Split | None = None,
    launches: int = 1,
) -> Operator:
    """Return an operator whose cost is its memory traffic."""
    return Operator(
        name=name,
        family=family,
        phase=phase,
        flops=flops,
        read_bytes=float(read_bytes),
        written_bytes=float(written_bytes),
        element_bytes=element_bytes,
        split=split,
        launches=launches,
    )


def divide(operator: Operator, ways: int) -> Operator:
    """Return one rank's part of ``operator`` under ``ways``-way tensor parallelism.

    Operators without a split are replicated. A matmul keeps the two dimensions that are not split, so its
    operand bytes are recomputed from the shape rather than scaled. A dimension that ``ways`` does not divide
    is rounded up: the part of the rank with most work.
    """
    if operator.split is None or ways == 1:
        return operator
    if operator.shape and operator.family in (Family.MATMUL, Family.BATCHED_MATMUL):
        return _divide_matmul(operator, ways)
    if operator.split is Split.K and not operator.flops:
        return operator
    shape = operator.shape
    if operator.family is Family.ATTENTION and shape:
        shape = (shape[0], _part(shape[1], ways), *shape[2:])
    return replace(
        operator,
        flops=operator.flops / ways,
        read_bytes=operator.read_bytes / ways,
        written_bytes=operator.written_bytes / ways,
        shape=shape,
    )


def reshaped(operator: Operator, shape: tuple[int, ...]) -> Operator:
    """Return a product of another ``shape`` whose operands, and outputs, are of as many bytes an element."""
    before, after = math.prod(operator.shape[:-1]), math.prod(shape[:-1])
    summed = operator.read_bytes - _operand_bytes(operator, operator.shape)
    return replace(
        operator,
        read_bytes=_operand_bytes(operator, shape) + summed / before * after,
        written_bytes=operator.written_bytes / before * after,
        shape=shape,
    )


def _operand_bytes(operator: Operator, shape: tuple[int, ...]) -> float:
    *batch, m, n, k = shape
    return float(operator.element_bytes * math.prod(batch) * k * (m + n))


def _part(size: int, ways: int) -> int:
    return -(-size // ways)


def _divide_matmul(operator: Operator, ways: int) -> Operator:
    *batch, m, n, k = operator.shape
    sizes = {
        Split.M: (*batch, _part(m, ways), n, k),
        Split.N: (*batch, m, _part(n, ways), k),
        Split.K: (*batch, m, n, _part(k, ways)),
        Split.BATCH: (_part(batch[0], ways), m, n, k) if batch else (_part(m, ways), n, k),
    }
    shape = sizes[operator.split or Split.M]
    return replace(reshaped(operator, shape), flops=2.0 * math.prod(shape))
