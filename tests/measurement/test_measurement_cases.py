"""The kernels and networks that are timed are those that simdml knows, and every one of them runs."""

import math
from types import SimpleNamespace

import compute
import compute_cases
import compute_kernels
import measuring
import network_shapes
import pytest
import torch
import training
import training_models
from measurement_programs import FOLDER

from simdml.workload import operators
from simdml.workload.catalog import find_model
from simdml.workload.operators import Family, Operator, Phase
from simdml.workload.optimizer import optimizer_operators

CPU = torch.device("cpu")
GPU_CASES = compute_cases.all_cases("cuda")
OF_CPUS = {"gpt2_tiny", "bert_tiny", "llama_tiny", "bert_base", "llama_75m"}


def as_operator(case):
    names = ("flops", "read_bytes", "written_bytes", "element_bytes", "launches", "causal")
    family, phase = Family(case["family"]), Phase(case["phase"])
    return Operator(
        name=case["op"], family=family, phase=phase, shape=tuple(case["shape"]), **{name: case[name] for name in names}
    )


def same_work(ours, simdml):
    fields = ("family", "phase", "flops", "read_bytes", "written_bytes", "shape", "element_bytes", "causal")
    assert {name: getattr(ours, name) for name in fields} == {name: getattr(simdml, name) for name in fields}


def of(family, **wanted):
    found = [c for c in GPU_CASES if c["family"] == family and all(c.get(k) in v for k, v in wanted.items())]
    assert found
    return found


def test_every_case_is_an_operator_of_simdml():
    for case in [*GPU_CASES, *compute_cases.all_cases("cpu")]:
        if case["family"] != "launch":
            assert as_operator(case).bytes > 0


def test_matmuls_count_as_simdml_does():
    for case in of("matmul", dtype=("bf16", "fp32", "tf32", "fp16")):
        m, n, k = case["shape"]
        size, phase = case["element_bytes"], Phase(case["phase"])
        same_work(as_operator(case), operators.matmul("x", m, n, k, element_bytes=size, phase=phase))
    for case in of("batched_matmul"):
        batch, m, n, k = case["shape"]
        size = case["element_bytes"]
        same_work(as_operator(case), operators.batched_matmul("x", batch, m, n, k, element_bytes=size))


def test_fused_attention_counts_as_simdml_does():
    for case in of("attention", kernel=("flash", "efficient", "cudnn")):
        batch, heads, sequence, _, size = case["shape"]
        expected = operators.attention(
            "x",
            batch=batch,
            heads=heads,
            kv_heads=heads,
            sequence=sequence,
            head_size=size,
            element_bytes=case["element_bytes"],
            causal=case["causal"],
            phase=Phase(case["phase"]),
        )
        same_work(as_operator(case), expected)


def test_convolutions_count_as_simdml_does():
    for case in of("convolution"):
        batch, c_in, c_out, kernel_h, kernel_w, out_h, out_w, stride, _ = case["shape"]
        expected = operators.convolution(
            "x",
            batch=batch,
            channels=(c_in, c_out),
            kernel=(kernel_h, kernel_w),
            image=(case["image"], case["image"]),
            output=(out_h, out_w),
            stride=stride,
            element_bytes=case["element_bytes"],
            phase=Phase(case["phase"]),
        )
        same_work(as_operator(case), expected)


@pytest.mark.parametrize("model", ["resnet50", "vgg16", "inception_v3"])
def test_convolutions_are_those_of_the_networks(model):
    built = find_model(model).build(samples=1)
    layers = [layer for block in built.blocks for layer in block.layers]
    real = {o.shape for layer in layers for o in layer.forward if o.family is Family.CONVOLUTION}
    rows = network_shapes.CONVOLUTIONS[model]
    ours = {tuple(compute_cases.convolution(model, row, 1, "fp32", "nchw", "forward")["shape"]) for row in rows}
    assert ours <= real
    assert len(ours) == len(rows)
    assert len(ours) >= (0.5 if model == "inception_v3" else 1.0) * len(real)


@pytest.mark.parametrize("implementation", ["fused", "foreach"])
@pytest.mark.parametrize("kind", ["sgd", "sgd_momentum", "adam"])
def test_optimizers_move_what_simdml_counts(kind, implementation):
    case = compute_cases.optimizer(kind, implementation, 1_000_000, 10)
    kernels = optimizer_operators(kind, 1_000_000, fused=implementation == "fused")
    assert case["read_bytes"] == sum(kernel.read_bytes for kernel in kernels)
    assert case["written_bytes"] == sum(kernel.written_bytes for kernel in kernels)
    assert case["launches"] == sum(kernel.launches for kernel in kernels)


def test_every_family_data_type_and_phase_is_measured():
    assert {case["family"] for case in GPU_CASES} == {"launch", *(family.value for family in Family)}
    assert {c["dtype"] for c in of("matmul")} == {"bf16", "fp16", "tf32", "fp32", "fp8"}
    assert {c["kernel"] for c in of("attention")} == {"flash", "efficient", "cudnn", "math", "unfused"}
    for family in ("matmul", "convolution"):
        assert {c["phase"] for c in of(family)} == {"forward", "input_gradient", "weight_gradient"}
    assert {c["layout"] for c in of("convolution")} == {"nchw", "nhwc"}
    assert {(c["op"], c["kernel"]) for c in of("optimizer")} >= {("adam", "fused"), ("adam", "plain")}


def test_the_start_of_the_list_has_some_of_everything():
    assert len({case["family"] for case in GPU_CASES[:100]}) == 13


def test_a_fifth_of_the_shapes_is_held_out_in_every_type_alike():
    assert 0.15 < sum(case["held_out"] for case in GPU_CASES) / len(GPU_CASES) < 0.25
    by_shape = {}
    for case in GPU_CASES:
        if case["shape"]:
            by_shape.setdefault((case["family"], *case["shape"]), set()).add(case["held_out"])
    assert all(len(flags) == 1 for flags in by_shape.values())


def test_types_and_sizes_that_are_wanted_alone():
    cases = compute_cases.all_cases("cpu", dtypes=("fp32",), small=True)
    assert {case["dtype"] for case in cases} == {"fp32"}
    assert {case["family"] for case in cases} == {"launch", *(family.value for family in Family)}
    assert max(case["flops"] for case in cases) <= 5e8
    assert all(c["dtype"] in ("tf32", "fp32") for c in compute_cases.all_cases("cuda", dtypes=("tf32",)))
    with pytest.raises(ValueError, match="fp32, bf16"):
        compute_cases.all_cases("cpu", dtypes=("fp8",))


def test_cases_are_distinct_and_the_same_every_time():
    keys = [repr(case) for case in GPU_CASES]
    assert len(set(keys)) == len(keys)
    assert compute_cases.all_cases("cuda") == GPU_CASES


def tiny_cases():
    for dtype in ("fp32", "bf16"):
        for phase in compute_cases.PHASES:
            yield compute_cases.matmul(16, 8, 24, dtype, phase)
            for layout in ("nchw", "nhwc"):
                yield compute_cases.convolution("x", (4, 8, 1, 3, 9, 2, 0, 1), 2, dtype, layout, phase)
        for kernel in ("flash", "math", "unfused"):
            for phase in ("forward", "input_gradient"):
                yield compute_cases.attention((2, 2, 8, 16), dtype, kernel, phase, causal=True)
        yield compute_cases.batched_matmul(3, 4, 5, 6, dtype)
    for op in compute_cases.STREAMS:
        yield compute_cases.stream(op, 8, 16, "fp32")
    for kind in ("sgd", "sgd_momentum", "adam"):
        for implementation in ("fused", "foreach", "plain"):
            yield compute_cases.optimizer(kind, implementation, 64, 4)
    yield from compute_cases.launches()


@pytest.mark.parametrize("case", list(tiny_cases()), ids=measuring.label)
def test_every_kernel_runs(case):
    stopping = measuring.Stopping(seconds=1e-4, least=2, most=2)
    entry = compute.measure_case(case, CPU, measuring.HostTimer(CPU), stopping)
    assert entry["seconds"] > 0


def test_no_op_of_the_list_is_unknown():
    known = {case["op"] for case in tiny_cases()}
    assert {case["op"] for case in GPU_CASES} == known


@pytest.mark.parametrize(
    ("phase", "wanted"), [("forward", (16, 8)), ("input_gradient", (16, 8)), ("weight_gradient", (8, 16))]
)
def test_matmuls_have_the_shape_of_autograds(phase, wanted):
    work = compute_kernels.build(compute_cases.matmul(16, 8, 24, "fp32", phase), CPU)
    assert tuple(work().shape) == wanted


def test_fp8_without_a_gpu_is_named_missing():
    with pytest.raises(measuring.Missing, match="fp8"):
        compute_kernels.build(compute_cases.matmul(16, 16, 16, "fp8"), CPU)


@pytest.mark.parametrize("name", ["gpt2", "gpt2_xl", "bert_large", "resnet50", "vgg16"])
def test_networks_have_as_many_parameters_as_simdmls(name):
    with torch.device("meta"):
        network = training_models.build(name)
    model = find_model(name).build(samples=1)
    assert sum(p.numel() for p in network.parameters()) == model.parameter_count


@pytest.mark.parametrize(("name", "billions"), [("llama_1b", 1.236), ("llama_3b", 3.213)])
def test_llamas_have_the_published_size(name, billions):
    with torch.device("meta"):
        network = training_models.build(name)
    assert sum(p.numel() for p in network.parameters()) / 1e9 == pytest.approx(billions, rel=1e-3)


@pytest.mark.parametrize("name", ["gpt2_tiny", "bert_tiny", "llama_tiny", "resnet_tiny", "vgg_tiny"])
def test_recomputation_changes_no_gradient(name):
    case = next(c for c in training.all_cases("cpu", quick=True) if c["model"] == name)
    torch.manual_seed(0)
    batch = training._batch(case)
    plain, recomputed = training_models.build(name), training_models.build(name, recompute=True)
    recomputed.load_state_dict(plain.state_dict())
    gradients = []
    for network in (plain, recomputed):
        network(*batch).backward()
        gradients.append([p.grad for p in network.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_all_networks_are_trained_plain_recomputed_and_compiled():
    cases = training.all_cases("cuda")
    plain = {c["model"] for c in cases if c["variant"] == "plain"}
    assert plain == {*training_models.TRANSFORMERS, "resnet50", "vgg16"} - OF_CPUS
    assert {c["model"] for c in cases if c["variant"] == "compile"} == plain
    assert {c["model"] for c in cases if c["variant"] == "recompute"} == plain - {"resnet50", "vgg16"}


@pytest.mark.parametrize(
    ("operator", "family"),
    [
        ("aten::mm", "matmul"),
        ("aten::addmm", "matmul"),
        ("aten::bmm", "batched_matmul"),
        ("aten::_flash_attention_backward", "attention"),
        ("aten::cudnn_convolution", "convolution"),
        ("aten::native_layer_norm_backward", "normalization"),
        ("aten::cudnn_batch_norm", "normalization"),
        ("aten::_softmax", "softmax"),
        ("aten::_log_softmax_backward_data", "loss"),
        ("aten::embedding_dense_backward", "embedding"),
        ("aten::_fused_adamw_", "optimizer"),
        ("aten::copy_", "copy"),
        ("aten::max_pool2d_with_indices", "pooling"),
        ("aten::gelu", "elementwise"),
        ("aten::add_", "elementwise"),
        ("triton_poi_fused_add_0", "compiled"),
    ],
)
def test_profiled_operators_have_simdmls_families(operator, family):
    assert training.family_of(operator) == family
    assert family == "compiled" or family in list(Family)


def test_kernels_that_no_operator_launched_are_unattributed():
    rows = [
        SimpleNamespace(key="aten::mm", device_type="DeviceType.CPU", self_device_time_total=30.0),
        SimpleNamespace(key="aten::gelu", device_type="DeviceType.CPU", self_device_time_total=10.0),
        SimpleNamespace(key="sm90_gemm", device_type="DeviceType.CUDA", self_device_time_total=30.0),
        SimpleNamespace(key="gelu_kernel", device_type="DeviceType.CUDA", self_device_time_total=10.0),
        SimpleNamespace(key="stray", device_type="DeviceType.CUDA", self_device_time_total=5.0),
    ]
    found = training.family_seconds(rows, is_cuda=True)
    assert found == pytest.approx({"matmul": 30e-6, "elementwise": 10e-6, "unattributed": 5e-6})
    assert math.isclose(sum(found.values()), 45e-6)


def test_programs_need_no_simdml():
    for path in FOLDER.glob("*.py"):
        if path.name.startswith(("fit_", "kernel_tables", "extrapolate")):
            continue
        assert "import simdml" not in path.read_text(encoding="utf-8")
        assert "from simdml" not in path.read_text(encoding="utf-8")
