"""Reads published tables of single-kernel times into operators and seconds, for ``fit_kernels.py``.

The tables are those of NeuSight (fp32, PyTorch 2.1: linear, bmm, conv and vector kernels) and of Vidur (fp16
forward pieces of transformer layers). Times are as published; a row is held out of fits by a hash of its shape.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from simdml.workload.operators import Family, Operator, Phase, batched_matmul, matmul, memory_bound

HELD_OUT_ONE_IN = 5


@dataclass(frozen=True)
class Limits:
    """The roofs of the very board that was measured (PCIe boards run slower than SXM ones)."""

    name: str
    peak_flops_per_s: dict[str, float]
    memory_bytes_per_s: float
    num_multiprocessors: int


BOARDS = {
    "Tesla P100-PCIE-16GB": Limits("P100 PCIe", {"fp32": 9.3e12}, 732e9, 56),
    "Tesla V100-PCIE-32GB": Limits("V100 PCIe", {"fp32": 14.0e12}, 900e9, 80),
    "Tesla T4": Limits("T4", {"fp32": 8.1e12}, 320e9, 40),
    "NVIDIA A100-PCIE-40GB": Limits("A100 PCIe 40 GB", {"fp32": 19.5e12}, 1555e9, 108),
    "NVIDIA A100 80GB PCIe": Limits("A100 PCIe 80 GB", {"fp32": 19.5e12}, 1935e9, 108),
    "a100": Limits("A100 SXM 80 GB", {"fp16": 312e12}, 2039e9, 108),
    "h100": Limits("H100 SXM", {"fp16": 989e12}, 3350e9, 132),
}


@dataclass(frozen=True)
class Sample:
    """One measured kernel."""

    operator: Operator
    seconds: float

    @property
    def held_out(self) -> bool:
        """Whether the row is kept for testing the fit: about one in five, by shape."""
        operator = self.operator
        text = repr((operator.family.value, operator.shape, operator.bytes))
        return int(hashlib.sha256(text.encode()).hexdigest(), 16) % HELD_OUT_ONE_IN == 0


def fp32_linear(folder: Path, device: str) -> list[Sample]:
    """Return matmuls of fully connected layers."""
    rows = _table(folder, "fp32_linear.csv.gz", device)
    return [
        Sample(matmul("linear", int(r.b * r.m), int(r.n), int(r.k), element_bytes=4), r.latency_ms / 1e3)
        for r in rows.itertuples()
    ]


def fp32_bmm(folder: Path, device: str) -> list[Sample]:
    """Return batched matmuls."""
    rows = _table(folder, "fp32_bmm.csv.gz", device)
    return [
        Sample(batched_matmul("bmm", int(r.b), int(r.m), int(r.n), int(r.k), element_bytes=4), r.latency_ms / 1e3)
        for r in rows.itertuples()
    ]


def fp32_conv(folder: Path, device: str) -> list[Sample]:
    """Return forward convolutions (all 3x3, stride 1, padded to keep the size)."""
    return [
        Sample(
            _convolution(r.b, r.input_channel, r.output_channel, r.kernel_size, r.input_size),
            r.latency_ms / 1e3,
        )
        for r in _table(folder, "fp32_conv.csv.gz", device).itertuples()
    ]


def fp32_vector(folder: Path, device: str, names: Iterable[str], family: Family, tensors: int) -> list[Sample]:
    """Return kernels over ``b`` x ``h`` elements that read and write ``tensors`` of them in all."""
    rows = _table(folder, "fp32_vector.csv.gz", device)
    rows = rows[rows.op.isin(list(names))]
    return [Sample(_stream(family, 4.0 * r.b * r.h, tensors, 4), r.latency_ms / 1e3) for r in rows.itertuples()]


def fp16_products(folder: Path, device: str) -> list[Sample]:
    """Return the four projections of a transformer layer, by tokens and tensor-parallel degree."""
    samples = []
    for r in _table(folder, "fp16_transformer_forward.csv.gz", device).itertuples():
        head = r.hidden // r.heads
        keys = max(r.kv_heads // r.tp, 1) * head
        up = (2 if r.gated else 1) * r.ffn // r.tp
        pieces = (
            ("qkv", r.hidden // r.tp + 2 * keys, r.hidden, r.attn_pre_proj_ms),
            ("proj", r.hidden, r.hidden // r.tp, r.attn_post_proj_ms),
            ("up", up, r.hidden, r.mlp_up_proj_ms),
            ("down", r.hidden, r.ffn // r.tp, r.mlp_down_proj_ms),
        )
        samples += [
            Sample(matmul(name, int(r.num_tokens), int(n), int(k), element_bytes=2), ms / 1e3)
            for name, n, k, ms in pieces
            if ms > 0
        ]
    return samples


def fp16_streams(folder: Path, device: str, column: str, family: Family, tensors: int) -> list[Sample]:
    """Return a memory-bound piece over tokens x hidden elements."""
    rows = _table(folder, "fp16_transformer_forward.csv.gz", device).dropna(subset=[column])
    width: Callable[..., float] = (lambda r: r.ffn / r.tp) if column == "mlp_act_ms" else (lambda r: r.hidden)
    return [
        Sample(_stream(family, 2.0 * r.num_tokens * width(r), tensors, 2), getattr(r, column) / 1e3)
        for r in rows.itertuples()
        if getattr(r, column) > 0 and (column != "mlp_act_ms" or r.gated)
    ]


def _table(folder: Path, file: str, device: str) -> pd.DataFrame:
    rows = pd.read_csv(folder / file)
    return rows[rows.device == device]


def _stream(family: Family, tensor_bytes: float, tensors: int, element_bytes: int) -> Operator:
    return memory_bound(
        family.value,
        family,
        read_bytes=(tensors - 1) * tensor_bytes,
        written_bytes=tensor_bytes,
        element_bytes=element_bytes,
    )


def _convolution(batch: int, c_in: int, c_out: int, kernel: int, size: int) -> Operator:
    pixels = batch * size * size
    return Operator(
        name="conv",
        family=Family.CONVOLUTION,
        phase=Phase.FORWARD,
        flops=2.0 * pixels * c_in * c_out * kernel * kernel,
        read_bytes=4.0 * (pixels * c_in + c_in * c_out * kernel * kernel),
        written_bytes=4.0 * pixels * c_out,
        shape=(int(batch), int(c_in), int(c_out), int(kernel), int(kernel), int(size), int(size), 1, 1),
        element_bytes=4,
    )
