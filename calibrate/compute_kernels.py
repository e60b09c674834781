"""Turns a case of ``compute_cases.py`` into a call that runs its kernels on random data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from measuring import Case, Missing, Work
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

DTYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
BACKENDS = {
    "flash": "FLASH_ATTENTION",
    "efficient": "EFFICIENT_ATTENTION",
    "cudnn": "CUDNN_ATTENTION",
    "math": "MATH",
}
DROPOUT = 0.1
aten = torch.ops.aten


class Inputs:
    """Draws random tensors of a case's type on its device."""

    def __init__(self, case: Case, device: torch.device) -> None:
        self.device = device
        self.dtype = DTYPES.get(case["dtype"], torch.bfloat16)

    def normal(self, *shape: int, grad: bool = False) -> torch.Tensor:
        """Return normal noise."""
        return torch.randn(shape, device=self.device, dtype=self.dtype).requires_grad_(grad)

    def images(self, case: Case, *shape: int) -> torch.Tensor:
        """Return noise of ``shape`` (samples, channels, height, width) in the case's memory layout."""
        layout = torch.channels_last if case.get("layout") == "nhwc" else torch.contiguous_format
        return self.normal(*shape).to(memory_format=layout)

    def indices(self, count: int, below: int) -> torch.Tensor:
        """Return random indices."""
        return torch.randint(below, (count,), device=self.device)


def build(case: Case, device: torch.device) -> Work:
    """Return the call that runs ``case``; raises Missing where this PyTorch has no such thing."""
    _choose_arithmetic(case["dtype"])
    family, op = case["family"], case["op"]
    maker = _BY_FAMILY.get(family) or _STREAMS.get(op)
    if maker is None:
        raise Missing(f"no kernel is known for {family} {op}")
    return maker(case, Inputs(case, device))


def _choose_arithmetic(dtype: str) -> None:
    """Allow TF32 in matmuls and convolutions for ``tf32`` alone."""
    torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = dtype == "tf32"


def _matmul(case: Case, inputs: Inputs) -> Work:
    """Lay operands out as autograd of a linear layer has them; a weight gradient comes out as (outputs, inputs)."""
    m, n, k = case["shape"]
    if case["dtype"] == "fp8":
        return _fp8_matmul(m, n, k, inputs)
    if case["phase"] == "forward":
        x, weight = inputs.normal(m, k), inputs.normal(n, k)
        return lambda: torch.mm(x, weight.t())
    if case["phase"] == "input_gradient":
        dy, weight = inputs.normal(m, k), inputs.normal(k, n)
        return lambda: torch.mm(dy, weight)
    x, dy = inputs.normal(k, m), inputs.normal(k, n)
    return lambda: torch.mm(dy.t(), x)


def _fp8_matmul(m: int, n: int, k: int, inputs: Inputs) -> Work:
    kind = getattr(torch, "float8_e4m3fn", None)
    if kind is None or not hasattr(torch, "_scaled_mm"):
        raise Missing("fp8: this PyTorch has no float8_e4m3fn or no scaled matmul")
    if inputs.device.type != "cuda" or torch.cuda.get_device_capability(inputs.device) < (8, 9):
        raise Missing("fp8: needs a GPU of compute capability 8.9 or newer")
    x, weight = inputs.normal(m, k).to(kind), inputs.normal(n, k).to(kind)
    one = torch.ones((), device=inputs.device)
    return lambda: torch._scaled_mm(x, weight.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)


def _batched_matmul(case: Case, inputs: Inputs) -> Work:
    batch, m, n, k = case["shape"]
    a, b = inputs.normal(batch, m, k), inputs.normal(batch, k, n)
    return lambda: torch.bmm(a, b)


def _attention(case: Case, inputs: Inputs) -> Work:
    batch, heads, sequence, _, size = case["shape"]
    backward = case["phase"] != "forward"
    parts = [inputs.normal(batch, heads, sequence, size, grad=backward) for _ in range(3)]
    attend = _attend(case["kernel"], causal=case["causal"], sequence=sequence, device=inputs.device)
    if not backward:
        return lambda: attend(*parts)
    return _gradient(attend(*parts), parts)


def _attend(kernel: str, *, causal: bool, sequence: int, device: torch.device) -> Callable[..., torch.Tensor]:
    if kernel == "unfused":
        mask = torch.ones(sequence, sequence, dtype=torch.bool, device=device).triu(1) if causal else None
        return lambda q, k, v: _unfused(q, k, v, mask)
    backend = getattr(SDPBackend, BACKENDS[kernel], None)
    if backend is None:
        raise Missing(f"{kernel} attention: this PyTorch does not have it")

    def fused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        with sdpa_kernel([backend]):
            return functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    return fused


def _unfused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(mask, float("-inf"))
    mixed: torch.Tensor = scores.softmax(-1) @ v
    return mixed


def _gradient(output: torch.Tensor, leaves: Sequence[torch.Tensor]) -> Work:
    """Return the backward of ``output``, alone, as often as wanted."""
    incoming = torch.randn_like(output) if output.dim() else None
    return lambda: torch.autograd.grad(output, list(leaves), incoming, retain_graph=True)


def _convolution(case: Case, inputs: Inputs) -> Work:
    batch, c_in, c_out, kernel_h, kernel_w, out_h, out_w, stride, _ = case["shape"]
    x = inputs.images(case, batch, c_in, case["image"], case["image"])
    weight = inputs.images(case, c_out, c_in, kernel_h, kernel_w)
    padding = case["padding"]
    if case["phase"] == "forward":
        return lambda: functional.conv2d(x, weight, stride=stride, padding=padding)
    dy = inputs.images(case, batch, c_out, out_h, out_w)
    wanted = [case["phase"] == "input_gradient", case["phase"] == "weight_gradient", False]
    sizes = ([stride, stride], padding, [1, 1], False, [0, 0], 1)
    return lambda: aten.convolution_backward(dy, x, weight, None, *sizes, wanted)


def _layer_norm(case: Case, inputs: Inputs) -> Work:
    x, weight, bias = _rows(case, inputs), inputs.normal(case["columns"]), inputs.normal(case["columns"])
    if case["phase"] == "forward":
        return lambda: aten.native_layer_norm(x, [case["columns"]], weight, bias, 1e-5)
    dy = _rows(case, inputs)
    _, mean, rstd = aten.native_layer_norm(x, [case["columns"]], weight, bias, 1e-5)
    wanted = [True, False, False] if case["phase"] == "input_gradient" else [False, True, True]
    return lambda: aten.native_layer_norm_backward(dy, x, [case["columns"]], mean, rstd, weight, bias, wanted)


def _rms_norm(case: Case, inputs: Inputs) -> Work:
    if not hasattr(functional, "rms_norm"):
        raise Missing("rms_norm: needs PyTorch 2.4")
    backward = case["op"] == "rms_norm_gradient"
    x = _rows(case, inputs).requires_grad_(backward)
    weight = inputs.normal(case["columns"], grad=backward)
    if backward:
        return _gradient(functional.rms_norm(x, [case["columns"]], weight, 1e-5), (x, weight))
    return lambda: functional.rms_norm(x, [case["columns"]], weight, 1e-5)


def _rms_norm_eager(case: Case, inputs: Inputs) -> Work:
    x, weight = _rows(case, inputs), inputs.normal(case["columns"])

    def norm() -> torch.Tensor:
        wide = x.float()
        return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)).to(x.dtype)

    return norm


def _batch_norm(case: Case, inputs: Inputs) -> Work:
    """Run over ``rows`` pixels in 16 images (fewer if they do not divide) and ``columns`` channels, channels first."""
    samples = next(size for size in (16, 8, 4, 2, 1) if case["rows"] % size == 0)
    shape = (samples, case["columns"], case["rows"] // samples, 1)
    backward = case["op"] == "batch_norm_gradient"
    x = inputs.normal(*shape, grad=backward)
    weight, bias = (torch.rand(case["columns"], device=inputs.device, requires_grad=backward) for _ in range(2))
    if backward:
        return _gradient(functional.batch_norm(x, None, None, weight, bias, training=True), (x, weight, bias))
    return lambda: functional.batch_norm(x, None, None, weight, bias, training=True)


def _rows(case: Case, inputs: Inputs) -> torch.Tensor:
    return inputs.normal(case["rows"], case["columns"])


def _unary(function: Callable[[torch.Tensor], object]) -> Callable[[Case, Inputs], Work]:
    def make(case: Case, inputs: Inputs) -> Work:
        x = _rows(case, inputs)
        return lambda: function(x)

    return make


def _binary(function: Callable[[torch.Tensor, torch.Tensor], object]) -> Callable[[Case, Inputs], Work]:
    def make(case: Case, inputs: Inputs) -> Work:
        x, y = _rows(case, inputs), _rows(case, inputs)
        return lambda: function(x, y)

    return make


def _softmax_gradient(case: Case, inputs: Inputs) -> Work:
    y, dy = _rows(case, inputs).softmax(-1), _rows(case, inputs)
    return lambda: aten._softmax_backward_data(dy, y, -1, inputs.dtype)


def _bias_gelu(case: Case, inputs: Inputs) -> Work:
    x, bias = _rows(case, inputs), inputs.normal(case["columns"])
    return lambda: functional.gelu(x + bias, approximate="tanh")


def _dropout(x: torch.Tensor) -> torch.Tensor:
    dropped: torch.Tensor = aten.native_dropout(x, DROPOUT, True)[0]
    return dropped


def _max_pool(case: Case, inputs: Inputs) -> Work:
    """Halve images of 64 channels."""
    backward = case["op"] == "max_pool_gradient"
    x = inputs.normal(case["rows"], 64, case["columns"], case["columns"], grad=backward)
    if backward:
        return _gradient(functional.max_pool2d(x, 2, 2), (x,))
    return lambda: aten.max_pool2d_with_indices(x, [2, 2], [2, 2])


def _embedding(case: Case, inputs: Inputs) -> Work:
    ids = inputs.indices(case["rows"], case["table"])
    if case["op"] == "embedding_gradient":
        dy = _rows(case, inputs)
        return lambda: aten.embedding_dense_backward(dy, ids, case["table"], -1, False)
    table = inputs.normal(case["table"], case["columns"])
    return lambda: functional.embedding(ids, table)


def _cross_entropy(case: Case, inputs: Inputs) -> Work:
    backward = case["op"] == "cross_entropy_gradient"
    logits, labels = _rows(case, inputs).requires_grad_(backward), inputs.indices(case["rows"], case["columns"])
    if backward:
        return _gradient(functional.cross_entropy(logits, labels), (logits,))
    return lambda: functional.cross_entropy(logits, labels)


def _optimizer(case: Case, inputs: Inputs) -> Work:
    parameters = [inputs.normal(case["columns"], grad=True) for _ in range(case["rows"])]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    how: dict[str, Any] = {"fused": case["kernel"] == "fused", "foreach": case["kernel"] == "foreach", "lr": 1e-6}
    if case["op"] == "adam":
        stepper: torch.optim.Optimizer = torch.optim.Adam(parameters, **how)
    else:
        stepper = torch.optim.SGD(parameters, momentum=0.9 if case["op"] == "sgd_momentum" else 0.0, **how)
    return stepper.step


def _launch(case: Case, inputs: Inputs) -> Work:
    x, chain = torch.ones(1, device=inputs.device), range(case["chain"])

    def launch() -> None:
        for _ in chain:
            x.add_(1.0)

    return launch


def _pair(case: Case, inputs: Inputs) -> Work:
    x, y = _rows(case, inputs), _rows(case, inputs)
    return lambda: _dropout(x) + y


_BY_FAMILY: dict[str, Callable[[Case, Inputs], Work]] = {
    "matmul": _matmul,
    "batched_matmul": _batched_matmul,
    "attention": _attention,
    "convolution": _convolution,
    "optimizer": _optimizer,
    "launch": _launch,
}
_STREAMS: dict[str, Callable[[Case, Inputs], Work]] = {
    "layer_norm": _layer_norm,
    "layer_norm_input_gradient": _layer_norm,
    "layer_norm_weight_gradient": _layer_norm,
    "rms_norm": _rms_norm,
    "rms_norm_gradient": _rms_norm,
    "rms_norm_eager": _rms_norm_eager,
    "batch_norm": _batch_norm,
    "batch_norm_gradient": _batch_norm,
    "softmax": _unary(lambda x: x.softmax(-1)),
    "softmax_gradient": _softmax_gradient,
    "add": _binary(torch.add),
    "scale": _unary(lambda x: x * 0.5),
    "relu": _unary(torch.relu_),
    "relu_gradient": _binary(lambda dy, y: aten.threshold_backward(dy, y, 0.0)),
    "gelu": _unary(lambda x: functional.gelu(x, approximate="tanh")),
    "gelu_gradient": _binary(lambda dy, x: aten.gelu_backward(dy, x, approximate="tanh")),
    "bias_gelu": _bias_gelu,
    "dropout": _unary(_dropout),
    "dropout_add": _pair,
    "silu_multiply": _binary(lambda gate, up: functional.silu(gate) * up),
    "bias_gradient": _unary(lambda dy: dy.sum(0)),
    "to_fp32": _unary(lambda x: x.to(torch.float32, copy=True)),
    "transpose": _unary(lambda x: x.t().contiguous()),
    "max_pool": _max_pool,
    "max_pool_gradient": _max_pool,
    "embedding": _embedding,
    "embedding_gradient": _embedding,
    "cross_entropy": _cross_entropy,
    "cross_entropy_gradient": _cross_entropy,
}
