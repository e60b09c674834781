"""Layer lists, the catalog's names, and optimizers."""

import pytest

from simdml.errors import DocumentError, UnknownNameError
from simdml.workload.catalog import available_models, find_model
from simdml.workload.custom import build_custom
from simdml.workload.operators import Family, Phase
from simdml.workload.optimizer import (
    SEPARATE,
    STATE_BYTES,
    optimizer_operators,
    optimizer_state_bytes_per_parameter,
)


def test_measured_layer_keeps_its_numbers():
    entry = {"name": "a", "parameters": 1000, "forward_flops": 6e6, "activation_bytes": 50, "output_bytes": 20}
    model = build_custom("mine", [entry, {"name": "b", "forward_flops": 1e6, "backward_flops": 3e6}], samples=4)
    layer = model.blocks[0].layers[0]
    assert model.parameter_count == 1000
    assert (layer.forward_flops, layer.backward_flops) == (24e6, 48e6)
    assert layer.activations[0].bytes == 200
    assert model.blocks[0].output_bytes == 80
    assert model.model_flops_per_sample == 18e6 + 4e6
    assert [op.phase for op in layer.backward] == [Phase.INPUT_GRADIENT, Phase.WEIGHT_GRADIENT]
    assert layer.forward[0].bytes == 4 * 70 + 4 * 1000


def test_layer_kinds_agree_with_their_formulas():
    layers = [
        {"name": "words", "kind": "embedding", "rows": 100, "width": 64, "lookups": 8},
        {"name": "dense", "kind": "linear", "inputs": 64, "outputs": 128, "rows": 8},
        {"name": "core", "kind": "attention", "heads": 2, "sequence": 8, "head_size": 64},
        {"name": "norm", "kind": "normalization", "elements": 1024, "parameters": 256},
        {"name": "relu", "kind": "elementwise", "elements": 1024},
        {
            "name": "conv",
            "kind": "convolution",
            "channels_in": 16,
            "channels_out": 32,
            "kernel": 3,
            "height": 8,
            "width": 8,
            "padding": 1,
        },
    ]
    model = build_custom("mixed", layers, samples=2)
    assert model.parameter_count == 100 * 64 + 64 * 128 + 128 + 256 + 16 * 32 * 9
    forward = [sum(op.flops for op in block.operators(Phase.FORWARD)) for block in model.blocks]
    assert forward == [0, 2 * 2 * 8 * 64 * 128, 2 * 4 * 2 * 64 * 64, 0, 0, 2 * 2 * 32 * 64 * 16 * 9]
    assert [b.output_bytes for b in model.blocks] == [4 * 2 * n for n in (512, 1024, 1024, 1024, 1024, 2048)]


def test_blocks_group_consecutive_layers():
    layers = [{"name": n, "forward_flops": 1.0, "block": b} for n, b in (("a", "x"), ("b", "x"), ("c", "y"))]
    assert [(b.name, len(b.layers)) for b in build_custom("m", layers, samples=1).blocks] == [("x", 2), ("y", 1)]
    with pytest.raises(DocumentError, match="not consecutive"):
        build_custom("m", [*layers, layers[0]], samples=1)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "a", "forward_flop": 1.0}, "unknown layer kind"),
        ({"name": "a", "kind": "linaer"}, "linear"),
        ({"name": "a", "kind": "linear", "inputs": 4, "output": 4}, 'did you mean "outputs"'),
        ({"name": "a", "kind": "linear", "inputs": 4}, 'needs "outputs"'),
        ({"name": "a", "kind": "linear", "inputs": 4.5, "outputs": 4}, "integer"),
        ({"name": "a", "kind": "linear", "inputs": 0, "outputs": 4}, "at least 1"),
        ({"name": "a", "forward_flops": float("nan")}, "not below 0"),
        ({"name": "a", "forward_flops": -1.0}, "not below 0"),
        ({"name": "a", "forward_flops": "1e9"}, "not below 0"),
    ],
)
def test_bad_entries_are_refused_by_name(entry, message):
    with pytest.raises((DocumentError, UnknownNameError), match=message):
        build_custom("m", [entry], samples=1)


def test_empty_list_is_refused():
    with pytest.raises(DocumentError, match="at least one layer"):
        build_custom("m", [], samples=1)


@pytest.mark.parametrize("name", available_models())
def test_every_model_builds_with_one_call(name):
    spec = find_model(name)
    sequence = None if spec.default_sequence is None else 64
    model = spec.build(samples=3, sequence=sequence, element_bytes=2, attention="flash", fused_elementwise=False)
    assert (model.name, model.samples, model.sample_unit) == (name, 3, spec.sample_unit)
    twice = spec.build(samples=6, sequence=sequence, element_bytes=2, attention="flash", fused_elementwise=False)
    assert twice.parameter_count == model.parameter_count
    assert twice.model_flops_per_sample == model.model_flops_per_sample


def test_names_are_forgiving_and_unknown_ones_helpful():
    assert find_model("Llama3-8B") is find_model("llama3_8b")
    assert find_model("GPT-1.7B").name == "gpt_1_7b"
    with pytest.raises(UnknownNameError, match="resnet50"):
        find_model("resnet5")


@pytest.mark.parametrize(
    ("kind", "precision", "fused", "expected"),
    [
        ("sgd", "fp32", False, 12),
        ("sgd_momentum", "fp32", True, 20),
        ("sgd_momentum", "fp32", False, 32),
        ("adam", "fp32", True, 28),
        ("adam", "fp32", False, 72),
        ("adamw", "fp32", False, 80),
        ("adam", "bf16", True, 28 + 6 + 6),
        ("adam", "fp16", True, 28 + 6 + 8 + 6),
    ],
)
def test_optimizer_bytes_a_parameter(kind, precision, fused, expected):
    operators = optimizer_operators(kind, 1_000_000, precision, fused=fused)
    assert sum(op.bytes for op in operators) == expected * 1_000_000
    assert {op.family for op in operators} == {Family.OPTIMIZER}
    assert {op.phase for op in operators} == {Phase.UPDATE}


@pytest.mark.parametrize("kind", [kind for kind in STATE_BYTES if kind not in ("bert_adam", "lamb")])
def test_separate_kernels_are_what_foreach_dispatches(kind):
    """Bytes in and out of the aten operators of torch's foreach step, once the state exists."""
    torch = pytest.importorskip("torch")
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    size = 100_000

    class Traffic(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            leaves = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
            large = {id(t) for t in leaves if t.dim()}
            if "foreach" in str(func) and large:
                self.total += 4 * size * (len(large) + 1)
            return out

    weight = torch.nn.Parameter(torch.ones(size))
    weight.grad = torch.ones(size)
    build = {
        "sgd": lambda: torch.optim.SGD([weight], lr=0.1, foreach=True),
        "sgd_momentum": lambda: torch.optim.SGD([weight], lr=0.1, momentum=0.9, foreach=True),
        "adam": lambda: torch.optim.Adam([weight], foreach=True),
        "adamw": lambda: torch.optim.AdamW([weight], foreach=True),
    }[kind]
    optimizer = build()
    optimizer.step()
    with Traffic() as traffic:
        optimizer.step()
    assert traffic.total == sum(read + written for _, read, written in SEPARATE[kind]) * size


def test_optimizer_state():
    assert optimizer_state_bytes_per_parameter("adam") == 8
    assert optimizer_state_bytes_per_parameter("adam", "bf16") == 12
    assert optimizer_state_bytes_per_parameter("sgd_momentum", "fp16") == 8
    assert optimizer_state_bytes_per_parameter("sgd") == 0


def test_large_models_need_several_launches():
    (small,), (large,) = (optimizer_operators("sgd", n) for n in (1000, 50_000_000))
    assert (small.launches, large.launches) == (1, 3)
    assert optimizer_operators("adam", 0) == ()


def test_unknown_optimizers_are_refused():
    with pytest.raises(UnknownNameError, match="adam"):
        optimizer_operators("adamm", 1)
    with pytest.raises(UnknownNameError, match="bf16"):
        optimizer_state_bytes_per_parameter("adam", "bf-16")
