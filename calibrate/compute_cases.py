"""The kernels that ``compute.py`` times, as plain dictionaries: shapes of real networks and log-uniform ones.

A case says what :class:`simdml.workload.operators.Operator` says of a kernel (family, phase, shape, element_bytes,
flops, read_bytes, written_bytes, launches, causal), under the same names and by the same counting, plus what is
needed to run it. ``held_out`` marks one shape in five, by hash, for testing a fit.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from network_shapes import CONVOLUTIONS, GATED, TRANSFORMERS

Case = dict[str, Any]
ELEMENT_BYTES = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2, "fp8": 1}
FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, UPDATE = "forward", "input_gradient", "weight_gradient", "update"
PHASES = (FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT)
HELD_OUT_ONE_IN = 5
TOKEN_ID_BYTES = 8
POOLING_INDEX_BYTES = 8
FOREACH_ELEMENTS_PER_LAUNCH = 320 * 65536


@dataclass(frozen=True, slots=True)
class Scale:
    """How large and how many the cases of a device are; ``counts`` by op family, ``flops`` and ``bytes`` at most."""

    dtypes: tuple[str, ...]
    flops: float
    bytes: float
    tokens: tuple[int, ...]
    images: tuple[int, ...]
    sequences: tuple[int, ...]
    attention_kernels: tuple[str, ...]
    counts: dict[str, int]


GPU = Scale(
    dtypes=("bf16", "fp16", "tf32", "fp32", "fp8"),
    flops=4e12,
    bytes=4e9,
    tokens=(1024, 2048, 4096, 8192, 16384),
    images=(16, 32, 64, 128),
    sequences=(256, 512, 1024, 2048, 4096, 8192),
    attention_kernels=("flash", "efficient", "cudnn", "math", "unfused"),
    counts={"matmul": 700, "batched_matmul": 150, "attention": 180, "convolution": 400, "stream": 420, "optimizer": 40},
)
CPU = Scale(
    dtypes=("fp32", "bf16"),
    flops=8e9,
    bytes=3e8,
    tokens=(32, 64, 128, 256, 512, 1024),
    images=(1, 2, 4, 8),
    sequences=(64, 128, 256, 512),
    attention_kernels=("flash", "math", "unfused"),
    counts={"matmul": 150, "batched_matmul": 40, "attention": 40, "convolution": 120, "stream": 140, "optimizer": 24},
)
QUICK_COUNTS = {"matmul": 8, "batched_matmul": 3, "attention": 6, "convolution": 8, "stream": 24, "optimizer": 6}
SMALL_FLOPS, SMALL_BYTES = 5e8, 3e7


def all_cases(
    device_type: str, *, quick: bool = False, small: bool = False, dtypes: tuple[str, ...] | None = None
) -> list[Case]:
    """Return the cases of a device, families mixed, so that a run cut short has some of each.

    ``quick`` leaves few, and only ``small`` ones, which take some milliseconds on a CPU. ``dtypes`` are the types that
    are wanted, by default all; ValueError where the device has no such type.
    """
    scale = GPU if device_type == "cuda" else CPU
    if dtypes is not None:
        if not set(dtypes) <= set(scale.dtypes):
            raise ValueError(f"{','.join(dtypes)} are not all among {', '.join(scale.dtypes)}")
        scale = replace(scale, dtypes=dtypes)
    counts = QUICK_COUNTS if quick else scale.counts
    flops, size = (SMALL_FLOPS, SMALL_BYTES) if quick or small else (scale.flops, scale.bytes)
    groups = {
        "matmul": _matmuls(scale),
        "batched_matmul": _batched_matmuls(scale),
        "attention": _attentions(scale),
        "convolution": _convolutions(scale),
        "stream": _streams(scale),
        "optimizer": _optimizers(scale),
    }
    chosen = launches()
    for group, cases in groups.items():
        fits = [case for case in cases if case["flops"] <= flops and _traffic(case) <= size]
        chosen += _pick(fits, counts[group], each_dtype=group != "matmul")
    return _mixed(chosen)


def launches() -> list[Case]:
    """Return chains of the smallest kernel: seconds a launch as the host sees it, and as the device does."""
    return [
        _case("launch", op, "fp32", FORWARD, read=4.0, written=4.0, rows=1, columns=1, chain=200)
        for op in ("empty_kernel_host", "empty_kernel_device")
    ]


def matmul(m: int, n: int, k: int, dtype: str, phase: str = FORWARD) -> Case:
    """Return a linear layer's matmul; ``(m, n, k)`` of a weight gradient are (inputs, outputs, rows)."""
    size = ELEMENT_BYTES[dtype]
    output = 2 if dtype == "fp8" else size
    return _case(
        "matmul",
        "linear",
        dtype,
        phase,
        shape=(m, n, k),
        flops=2.0 * m * n * k,
        read=float(size * (m * k + k * n)),
        written=float(output * m * n),
    )


def batched_matmul(batch: int, m: int, n: int, k: int, dtype: str) -> Case:
    """Return ``batch`` products of random matrices."""
    size = ELEMENT_BYTES[dtype]
    return _case(
        "batched_matmul",
        "bmm",
        dtype,
        FORWARD,
        shape=(batch, m, n, k),
        flops=2.0 * batch * m * n * k,
        read=float(batch * size * (m * k + k * n)),
        written=float(batch * size * m * n),
    )


def attention(shape: tuple[int, int, int, int], dtype: str, kernel: str, phase: str, *, causal: bool) -> Case:
    """Return attention over ``shape`` (batch, heads, sequence, head size): 2 products forward, 5 backward fused.

    The bytes are those of a fused kernel whatever ``kernel`` is; math and unfused chains also move the scores.
    """
    batch, heads, sequence, size = shape
    tensor = ELEMENT_BYTES[dtype] * math.prod(shape)
    log_sum_exp = 4 * batch * heads * sequence
    forward, fused = phase == FORWARD, kernel not in ("math", "unfused")
    products = 2 if forward else 5 if fused else 4
    return _case(
        "attention",
        "attention",
        dtype,
        phase,
        shape=(batch, heads, sequence, sequence, size),
        flops=2.0 * products * math.prod(shape) * sequence,
        read=float(3 * tensor if forward else 5 * tensor + log_sum_exp),
        written=float(tensor + log_sum_exp if forward else 3 * tensor),
        launches=(1 if forward else 3) if fused else 4,
        causal=causal,
        kernel=kernel,
    )


def convolution(model: str, layer: tuple[int, ...], batch: int, dtype: str, layout: str, phase: str) -> Case:
    """Return a convolution of a row of ``CONVOLUTIONS``; FLOPs and bytes as simdml counts them in every phase."""
    c_in, c_out, kernel_h, kernel_w, image, stride, padding_h, padding_w = layer
    out_h = (image + 2 * padding_h - kernel_h) // stride + 1
    out_w = (image + 2 * padding_w - kernel_w) // stride + 1
    outputs = batch * c_out * out_h * out_w
    tensors = {
        INPUT_GRADIENT: batch * c_in * image * image,
        WEIGHT_GRADIENT: c_out * c_in * kernel_h * kernel_w,
        FORWARD: outputs,
    }
    size = ELEMENT_BYTES[dtype]
    return _case(
        "convolution",
        "conv2d",
        dtype,
        phase,
        shape=(batch, c_in, c_out, kernel_h, kernel_w, out_h, out_w, stride, 1),
        flops=2.0 * outputs * c_in * kernel_h * kernel_w,
        read=float(size * (sum(tensors.values()) - tensors[phase])),
        written=float(size * tensors[phase]),
        layout=layout,
        model=model,
        image=image,
        padding=[padding_h, padding_w],
    )


# op: family, phase, launches, elements read and written (in units of rows x columns), and further bytes of each.
STREAMS: dict[str, tuple[str, str, int, float, float, float, float]] = {
    "layer_norm": ("normalization", FORWARD, 1, 1, 1, 0, 0),
    "layer_norm_input_gradient": ("normalization", INPUT_GRADIENT, 1, 2, 1, 0, 0),
    "layer_norm_weight_gradient": ("normalization", WEIGHT_GRADIENT, 2, 2, 0, 0, 0),
    "rms_norm": ("normalization", FORWARD, 1, 1, 1, 0, 0),
    "rms_norm_gradient": ("normalization", INPUT_GRADIENT, 3, 4, 1, 0, 0),
    "rms_norm_eager": ("elementwise", FORWARD, 8, 2, 2, 16, 12),
    "batch_norm": ("normalization", FORWARD, 1, 2, 1, 0, 0),
    "batch_norm_gradient": ("normalization", INPUT_GRADIENT, 2, 4, 1, 0, 0),
    "softmax": ("softmax", FORWARD, 1, 1, 1, 0, 0),
    "softmax_gradient": ("softmax", INPUT_GRADIENT, 1, 2, 1, 0, 0),
    "add": ("elementwise", FORWARD, 1, 2, 1, 0, 0),
    "scale": ("elementwise", FORWARD, 1, 1, 1, 0, 0),
    "relu": ("elementwise", FORWARD, 1, 1, 1, 0, 0),
    "relu_gradient": ("elementwise", INPUT_GRADIENT, 1, 2, 1, 0, 0),
    "gelu": ("elementwise", FORWARD, 1, 1, 1, 0, 0),
    "gelu_gradient": ("elementwise", INPUT_GRADIENT, 1, 2, 1, 0, 0),
    "bias_gelu": ("elementwise", FORWARD, 2, 2, 2, 0, 0),
    "dropout": ("elementwise", FORWARD, 1, 1, 1, 0, 1),
    "dropout_add": ("elementwise", FORWARD, 2, 3, 2, 0, 1),
    "silu_multiply": ("elementwise", FORWARD, 2, 3, 2, 0, 0),
    "bias_gradient": ("elementwise", WEIGHT_GRADIENT, 1, 1, 0, 0, 0),
    "to_fp32": ("elementwise", FORWARD, 1, 1, 0, 0, 4),
    "transpose": ("copy", FORWARD, 1, 1, 1, 0, 0),
    "max_pool": ("pooling", FORWARD, 1, 1, 0.25, 0, POOLING_INDEX_BYTES / 4),
    "max_pool_gradient": ("pooling", INPUT_GRADIENT, 1, 0.25, 1, POOLING_INDEX_BYTES / 4, 0),
    "embedding": ("embedding", FORWARD, 1, 1, 1, 0, 0),
    "embedding_gradient": ("embedding", WEIGHT_GRADIENT, 2, 1, 1, 0, 0),
    "cross_entropy": ("loss", FORWARD, 2, 2, 1, 0, 0),
    "cross_entropy_gradient": ("loss", INPUT_GRADIENT, 3, 3, 2, 0, 0),
}
VOCABULARY_OPS = ("cross_entropy", "cross_entropy_gradient")
TABLE_OPS = ("embedding", "embedding_gradient")


def stream(op: str, rows: int, columns: int, dtype: str) -> Case:
    """Return a memory-bound operator over ``rows`` x ``columns`` elements.

    Traffic is counted as simdml.workload counts it for eager PyTorch. Pooling treats the rows as images of
    64 channels, ``columns`` pixels wide and high.
    """
    family, phase, kernels, read, written, more_read, more_written = STREAMS[op]
    elements, size = rows * columns, ELEMENT_BYTES[dtype]
    if op.startswith("max_pool"):
        elements = rows * 64 * columns * columns
    extra: Case = {}
    if op in TABLE_OPS:
        extra["table"] = 50257
        more_read += TOKEN_ID_BYTES / columns
    read_bytes = (size * read + more_read) * elements
    written_bytes = (size * written + more_written) * elements
    if op == "embedding_gradient":
        written_bytes += size * extra["table"] * columns
    if op in ("layer_norm_weight_gradient", "bias_gradient"):
        written_bytes += size * columns * (2 if op.startswith("layer_norm") else 1)
    return _case(
        family,
        op,
        dtype,
        phase,
        read=float(read_bytes),
        written=float(written_bytes),
        launches=kernels,
        rows=rows,
        columns=columns,
        **extra,
    )


def optimizer(kind: str, implementation: str, elements: int, tensors: int) -> Case:
    """Return a step over ``elements`` fp32 parameters in ``tensors`` tensors; traffic as simdml counts it."""
    separate = {"sgd": (8, 4, 1), "sgd_momentum": (20, 12, 3), "adam": (44, 28, 7)}
    fused = {"sgd": (8, 4, 1), "sgd_momentum": (12, 8, 1), "adam": (16, 12, 1)}
    read, written, kernels = (fused if implementation == "fused" else separate)[kind]
    groups = tensors if implementation == "plain" else -(-elements // FOREACH_ELEMENTS_PER_LAUNCH)
    return _case(
        "optimizer",
        kind,
        "fp32",
        UPDATE,
        read=float(read * elements),
        written=float(written * elements),
        launches=kernels * groups,
        rows=tensors,
        columns=elements // tensors,
        kernel=implementation,
    )


def _case(
    family: str,
    op: str,
    dtype: str,
    phase: str,
    *,
    shape: tuple[int, ...] = (),
    flops: float = 0.0,
    read: float,
    written: float,
    launches: int = 1,
    causal: bool = False,
    **extra: object,
) -> Case:
    size = extra.get("rows"), extra.get("columns")
    group = repr((family, op if not shape else "", shape, size))
    return {
        "family": family,
        "op": op,
        "phase": phase,
        "dtype": dtype,
        "shape": list(shape),
        "element_bytes": ELEMENT_BYTES[dtype],
        "flops": flops,
        "read_bytes": read,
        "written_bytes": written,
        "launches": launches,
        "causal": causal,
        "held_out": int(hashlib.sha256(group.encode()).hexdigest(), 16) % HELD_OUT_ONE_IN == 0,
        **extra,
    }


def _matmuls(scale: Scale) -> Iterator[Case]:
    for dtype in scale.dtypes:
        share = 1 if dtype == scale.dtypes[0] else 3
        sizes = [*_linear_sizes(scale), *_sampled_matmuls()]
        for index, (rows, outputs, inputs) in enumerate(sorted(sizes, key=_digest)):
            if index % share:
                continue
            phases = (FORWARD,) if dtype == "fp8" else PHASES
            if dtype == "fp8" and (outputs % 16 or inputs % 16 or rows % 16):
                continue
            for phase in phases:
                yield matmul(*_by_phase(rows, outputs, inputs, phase), dtype, phase)


def _by_phase(rows: int, outputs: int, inputs: int, phase: str) -> tuple[int, int, int]:
    if phase == FORWARD:
        return rows, outputs, inputs
    return (rows, inputs, outputs) if phase == INPUT_GRADIENT else (inputs, outputs, rows)


def _linear_sizes(scale: Scale) -> Iterator[tuple[int, int, int]]:
    for name, (hidden, ffn, key, vocabulary) in TRANSFORMERS.items():
        merged = 2 if name in GATED else 1
        for rows in scale.tokens:
            for ways in (1, 2, 4, 8):
                yield rows, (hidden + 2 * key) // ways, hidden
                yield rows, hidden, hidden // ways
                yield rows, merged * ffn // ways, hidden
                yield rows, hidden, ffn // ways
            yield rows, vocabulary, hidden


def _sampled_matmuls() -> Iterator[tuple[int, int, int]]:
    draw = random.Random("matmul")
    for _ in range(400):
        step = draw.choice((1, 8, 64, 64, 128))
        yield (
            _log_uniform(draw, 8, 32768, step),
            _log_uniform(draw, 32, 32768, step),
            _log_uniform(draw, 32, 32768, step),
        )


def _log_uniform(draw: random.Random, low: int, high: int, step: int) -> int:
    value = math.exp(draw.uniform(math.log(low), math.log(high)))
    return max(step, round(value / step) * step)


def _batched_matmuls(scale: Scale) -> Iterator[Case]:
    draw = random.Random("batched_matmul")
    for dtype in scale.dtypes:
        if dtype == "fp8":
            continue
        for sequence in scale.sequences:
            for heads in (12, 16, 25, 32, 64):
                for size in (64, 128):
                    yield batched_matmul(heads * draw.choice((1, 2, 4)), sequence, sequence, size, dtype)
                    yield batched_matmul(heads * draw.choice((1, 2, 4)), sequence, size, sequence, dtype)
        for _ in range(60):
            m, n, k = (_log_uniform(draw, 16, 4096, draw.choice((1, 8, 64))) for _ in range(3))
            yield batched_matmul(_log_uniform(draw, 2, 512, 1), m, n, k, dtype)


def _attentions(scale: Scale) -> Iterator[Case]:
    draw = random.Random("attention")
    for dtype in scale.dtypes:
        for kernel in scale.attention_kernels:
            if dtype in ("fp8", "tf32") or (scale is GPU and dtype == "fp32" and kernel in ("flash", "cudnn")):
                continue
            for sequence in scale.sequences:
                for heads, size in ((12, 64), (16, 64), (20, 64), (32, 64), (16, 128), (32, 128), (64, 128)):
                    for causal in (False, True):
                        shape = (draw.choice((1, 2, 4, 8, 16)), heads, sequence, size)
                        for phase in (FORWARD, INPUT_GRADIENT):
                            yield attention(shape, dtype, kernel, phase, causal=causal)


def _convolutions(scale: Scale) -> Iterator[Case]:
    for model, layers in CONVOLUTIONS.items():
        for layer in layers:
            for batch in scale.images:
                for dtype in scale.dtypes:
                    if dtype == "fp8":
                        continue
                    for layout in ("nchw", "nhwc"):
                        for phase in PHASES:
                            if phase == INPUT_GRADIENT and layer[0] == 3:
                                continue
                            yield convolution(model, layer, batch, dtype, layout, phase)


def _streams(scale: Scale) -> Iterator[Case]:
    draw = random.Random("stream")
    dtypes = [dtype for dtype in scale.dtypes if dtype in ("fp32", "bf16")] or ["fp32"]
    for op in STREAMS:
        for _ in range(30):
            dtype = "fp32" if op in VOCABULARY_OPS else draw.choice(dtypes)
            rows, columns = _stream_size(op, scale, draw)
            yield stream(op, rows, columns, dtype)


def _stream_size(op: str, scale: Scale, draw: random.Random) -> tuple[int, int]:
    rows = draw.choice(scale.tokens)
    if op in VOCABULARY_OPS:
        return rows, draw.choice((1000, 30522, 32000, 50257, 50304, 128256))
    if op.startswith("max_pool"):
        return draw.choice(scale.images), draw.choice((28, 56, 112))
    if op.startswith("softmax"):
        sequence = draw.choice(scale.sequences)
        return draw.choice((12, 16, 32, 64)) * sequence, sequence
    if draw.random() < 0.5:
        return rows, draw.choice((64, 256, *(hidden for hidden, *_ in TRANSFORMERS.values())))
    return _log_uniform(draw, 64, 4 * scale.tokens[-1], 8), _log_uniform(draw, 64, 16384, 8)


def _optimizers(scale: Scale) -> Iterator[Case]:
    sizes = (1e6, 4e6, 16e6, 64e6, 250e6) if scale is GPU else (1e5, 1e6, 4e6)
    for kind in ("sgd", "sgd_momentum", "adam"):
        for implementation in ("fused", "foreach", "plain"):
            for elements in sizes:
                for tensors in (1, 50, 200):
                    yield optimizer(kind, implementation, int(elements) // tensors * tensors, tensors)


def _pick(cases: Iterable[Case], count: int, *, each_dtype: bool) -> list[Case]:
    """Return ``count`` distinct cases, each op, phase, kernel and (if ``each_dtype``) data type in its turn."""
    groups: dict[tuple[object, ...], list[Case]] = {}
    for case in sorted({repr(case): case for case in cases}.values(), key=_digest):
        dtype = case["dtype"] if each_dtype else None
        group = (case["op"], dtype, case["phase"], case.get("kernel"), case.get("layout"))
        groups.setdefault(group, []).append(case)
    chosen: list[Case] = []
    turn = 0
    while len(chosen) < count and any(len(group) > turn for group in groups.values()):
        chosen += [group[turn] for group in groups.values() if len(group) > turn]
        turn += 1
    return chosen[:count]


def _mixed(cases: Iterable[Case]) -> list[Case]:
    """Return ``cases`` with their families mixed, small families denser, by the root of their size."""
    families: dict[str, list[Case]] = {}
    for case in sorted(cases, key=_digest):
        families.setdefault(case["family"], []).append(case)
    placed = [
        ((turn + 0.5) / math.sqrt(len(family)), name, case)
        for name, family in families.items()
        for turn, case in enumerate(family)
    ]
    return [case for _, _, case in sorted(placed, key=lambda place: place[:2])]


def _traffic(case: Case) -> float:
    return float(case["read_bytes"] + case["written_bytes"])


def _digest(item: object) -> str:
    return hashlib.sha256(repr(item).encode()).hexdigest()
