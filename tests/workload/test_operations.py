"""BERT with a kernel for every operation, against the same formulas run operation by operation in torch."""

import math

import pytest

import simdml
from simdml.workload.catalog import find_model
from simdml.workload.operations import with_operations
from simdml.workload.optimizer import optimizer_operators, optimizer_state_bytes_per_parameter

torch = pytest.importorskip("torch")
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

ROWS, COLUMNS = 64, 512
VIEWS = ("view", "aten.t.", "expand", "detach", "alias", "unsqueeze", "ones_like")


class Traffic(TorchDispatchMode):
    """Counts large tensors read and written by every operation, in tensors of ROWS x COLUMNS."""

    def __init__(self):
        super().__init__()
        self.read = self.written = 0.0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if any(word in str(func) for word in VIEWS):
            return out
        operands = {id(each): each for each in args if isinstance(each, torch.Tensor)}.values()
        self.read += sum(each.untyped_storage().nbytes() // 4 >= ROWS * COLUMNS for each in operands)
        self.written += isinstance(out, torch.Tensor) and out.numel() >= ROWS * COLUMNS
        return out


def gelu(x):
    """The formula of google-research/bert, modeling.py."""
    return x * (0.5 * (1.0 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3)))))


def layer_norm(x, scale, shift):
    """tf.contrib.layers.layer_norm: tf.nn.moments, then tf.nn.batch_normalization."""
    mean = x.mean(-1, keepdim=True)
    difference = x - mean.detach()
    variance = (difference * difference).mean(-1, keepdim=True)
    inverse = torch.rsqrt(variance + 1e-12) * scale
    return x * inverse + (shift - mean * inverse)


def operators(name, element_bytes=4):
    spec = find_model("bert_base")
    plain = spec.build(
        samples=1, sequence=ROWS, element_bytes=element_bytes, attention="unfused", fused_elementwise=False
    )
    block = with_operations(plain).blocks[1]
    return [each for layer in block.layers for each in (*layer.forward, *layer.backward) if each.name == name]


def elements(name, element_bytes=4):
    """Tensors of an operator's size that it reads and writes."""
    width = {"activation": 3072}.get(name.removesuffix("_gradient"), 768)
    tensor = element_bytes * ROWS * width
    found = operators(name, element_bytes)[0]
    return found.read_bytes / tensor, found.written_bytes / tensor


@pytest.mark.parametrize(
    ("name", "function", "parameters"), [("activation", gelu, 0), ("norm", layer_norm, 2)], ids=["gelu", "layer norm"]
)
def test_forward_is_what_its_formula_dispatches(name, function, parameters):
    x = torch.randn(ROWS, COLUMNS)
    with Traffic() as traffic:
        function(x, *(torch.ones(COLUMNS) for _ in range(parameters)))
    # torch squares by a product, which reads its operand once here and in TensorFlow's SquaredDifference
    extra_square = 1 if name == "norm" else 0
    assert elements(name) == (traffic.read - extra_square, traffic.written - extra_square)


@pytest.mark.parametrize(
    ("name", "function", "parameters"),
    [("activation", gelu, 0), ("norm_input", layer_norm, 2)],
    ids=["gelu", "layer norm"],
)
def test_backward_is_about_what_autograd_dispatches(name, function, parameters):
    """The two differentiate operations alike, but for sums of several paths and products with constants."""
    x = torch.randn(ROWS, COLUMNS, requires_grad=True)
    y = function(x, *(torch.ones(COLUMNS, requires_grad=True) for _ in range(parameters)))
    gradient = torch.ones_like(y)
    with Traffic() as traffic:
        y.backward(gradient)
    assert sum(elements(f"{name}_gradient")) == pytest.approx(traffic.read + traffic.written, rel=0.15)


def test_half_precision_keeps_sums_and_powers_in_fp32_between_casts():
    """A forward chain moves 4 bytes where an element has 2, and a cast in and one out (2 + 4 and 4 + 2)."""
    read, written = elements("activation", element_bytes=2)
    plain = elements("activation", element_bytes=4)
    assert (read, written) == (2 * plain[0] + 1 + 2, 2 * plain[1] + 2 + 1)
    of_probabilities = operators("attention_dropout", 2)[0].bytes, operators("attention_dropout", 4)[0].bytes
    assert of_probabilities[0] * 2 == of_probabilities[1]


def test_products_are_the_same_and_biases_are_added_behind_them():
    spec = find_model("bert_base")
    plain = spec.build(samples=2, sequence=128, element_bytes=4, attention="unfused", fused_elementwise=False)
    changed = with_operations(plain)

    def flops(model):
        return sum(each.flops for block in model.blocks for layer in block.layers for each in layer.forward)

    assert flops(changed) == flops(plain)
    assert changed.parameter_count == plain.parameter_count
    names = [each.name for layer in changed.blocks[1].layers for each in layer.forward]
    assert [name for name in names if name.endswith("bias")] == [
        *("qkv_bias", "attention_output_bias", "fc1_bias", "fc2_bias"),
    ]
    assert changed.blocks[1] is changed.blocks[2]


def test_nothing_fused_is_slower_than_eager_kernels():
    eager, operations = (
        simdml.run("bert_large_dgx_a100", training={"kernels": kernels}).step_time_s
        for kernels in ("eager", "operations")
    )
    assert operations > 1.2 * eager


def test_berts_adam_is_what_its_algorithm_dispatches():
    """google-research/bert, optimization.py: AdamWeightDecayOptimizer.apply_gradients after clip_by_global_norm."""
    p, m, v, gradient = (torch.ones(ROWS, COLUMNS) for _ in range(4))
    with Traffic() as traffic:
        g = gradient * (1.0 / torch.linalg.vector_norm(gradient))
        next_m = m * 0.9 + g * 0.1
        next_v = v * 0.999 + torch.square(g) * 0.001
        update = next_m / (torch.sqrt(next_v) + 1e-6)
        update = update + p * 0.01
        next_p = p - update * 1e-4
        p.copy_(next_p)
        m.copy_(next_m)
        v.copy_(next_v)
    copies = 3  # their destinations are operands in torch, but are not read
    moved = sum(kernel.bytes for kernel in optimizer_operators("bert_adam", ROWS * COLUMNS))
    assert moved == 4 * ROWS * COLUMNS * (traffic.read - copies + traffic.written)
    assert optimizer_state_bytes_per_parameter("bert_adam") == optimizer_state_bytes_per_parameter("adam")
