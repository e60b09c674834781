"""Profiles fitted to readings that a known profile made, and the files that carry them."""

from __future__ import annotations

import json
import math
import random

import pytest
from click.testing import CliRunner

from simdml.calibration.logs.readings import parse_readings
from simdml.calibration.profile import load_profile
from simdml.calibration.profile_file import read_profile
from simdml.cli.calibrate import command
from simdml.cluster.device import find_device
from simdml.cluster.device_file import device_text
from simdml.cluster.loading import load_cluster
from simdml.costs.compute import RooflineCost
from simdml.costs.fitting.compute import fit_compute
from simdml.costs.fitting.cpu_device import cpu_device
from simdml.costs.fitting.samples import kernel_samples
from simdml.errors import DocumentError, InfeasibleError, UsageError
from simdml.workload.operators import Family, Phase, convolution, matmul, memory_bound

GPU = {"device": "NVIDIA A100-SXM4-80GB", "device_type": "cuda", "torch": "2.13.0", "cuda": "12.9"}
CPU = {"device": "some CPU", "cpu": "some CPU", "device_type": "cpu", "threads": 2, "memory_bytes": 16e9,
       "torch": "2.13.0"}  # fmt: skip


def case(operator, dtype, *, held_out=False, **extra):
    return {
        "family": operator.family.value,
        "op": operator.name,
        "phase": operator.phase.value,
        "dtype": dtype,
        "shape": list(operator.shape),
        "element_bytes": operator.element_bytes,
        "flops": operator.flops,
        "read_bytes": operator.read_bytes,
        "written_bytes": operator.written_bytes,
        "launches": operator.launches,
        "causal": operator.causal,
        "held_out": held_out,
    } | extra


def operators(element_bytes):
    draw = random.Random(7)
    sizes = [[2 ** draw.randint(6, 12) for _ in range(3)] for _ in range(60)]
    for m, n, k in sizes:
        yield matmul("linear", m, n, k, element_bytes=element_bytes)
    for family in (Family.ELEMENTWISE, Family.NORMALIZATION):
        for power in range(16, 28):
            size = float(2**power)
            yield memory_bound("op", family, read_bytes=size, written_bytes=size / 2, element_bytes=element_bytes)
    for channels in (64, 128, 256, 512):
        for image in (14, 28):
            for kernel in (1, 3):
                for phase in (Phase.FORWARD, Phase.INPUT_GRADIENT, Phase.WEIGHT_GRADIENT):
                    yield convolution("conv", batch=16, channels=(channels, channels), kernel=(kernel, kernel),
                                      image=(image, image), output=(image, image), stride=1,
                                      element_bytes=element_bytes, phase=phase)  # fmt: skip


def document(environment, cost, dtype, scale=1.0, element_bytes=2):
    """Readings whose seconds are what ``cost`` predicts, times ``scale``; one in five is held out."""
    entries = [
        {"case": case(operator, dtype, held_out=index % 5 == 0), "seconds": scale * cost.seconds(operator, dtype),
         "spread": 0.01, "repeats": 20, "noisy": False}
        for index, operator in enumerate(operators(element_bytes))
    ]  # fmt: skip
    return {
        "format": "simdml-readings-1",
        "program": "compute",
        "environment": environment,
        "runs": [{"date": "2026-11-23T10:00:00+00:00"}],
        "cases": entries,
    }


@pytest.fixture(scope="module")
def a100():
    return RooflineCost(load_profile("a100_sxm_80gb"), find_device("a100"))


@pytest.fixture(scope="module")
def gpu_document(a100):
    return document(GPU, a100, "fp16")


def kernels(data):
    return kernel_samples([parse_readings(json.dumps(data), "x.json")])


def test_a_known_profile_is_found_again(a100, gpu_document):
    fit = fit_compute(kernels(gpu_document), a100.device)
    for family, precision, tolerance in (
        (Family.MATMUL, "fp16", 0.03),
        (Family.CONVOLUTION, "fp16", 0.05),
        (Family.ELEMENTWISE, "", 1e-3),
        (Family.NORMALIZATION, "", 1e-3),
    ):
        found = fit.find(family, precision)
        assert found.is_held_out
        assert found.median_error <= tolerance
    stream = fit.find(Family.ELEMENTWISE).curve
    assert stream.plateau == pytest.approx(a100.profile.streams["elementwise"].plateau, rel=1e-3)
    assert stream.floor_s == pytest.approx(a100.profile.streams["elementwise"].floor_s, rel=1e-3)


def test_slower_readings_give_a_slower_profile(a100):
    slow = fit_compute(kernels(document(GPU, a100, "fp16", scale=2.0)), a100.device)
    stream = slow.find(Family.ELEMENTWISE).curve
    assert stream.plateau == pytest.approx(a100.profile.streams["elementwise"].plateau / 2, rel=1e-3)


def test_what_is_left_out_is_counted(gpu_document, a100):
    extra = [
        {**gpu_document["cases"][0], "noisy": True, "seconds": 99.0},
        {**gpu_document["cases"][0], "case": gpu_document["cases"][0]["case"] | {"dtype": "fp8"}},
        {**gpu_document["cases"][-1], "case": gpu_document["cases"][-1]["case"] | {"layout": "nhwc"}},
        {**gpu_document["cases"][0], "case": {"family": "launch", "op": "empty_kernel_host", "dtype": "fp32"},
         "seconds": 5e-6},
    ]  # fmt: skip
    samples = kernels(gpu_document | {"cases": [*gpu_document["cases"], *extra]})
    assert dict(samples.left_out) == {"noisy": 1, "precision fp8": 1, "channels last": 1}
    assert samples.host_launch_s == 5e-6
    assert len(samples.samples) == len(gpu_document["cases"])
    without = fit_compute(kernels(gpu_document), a100.device)
    assert fit_compute(samples, a100.device).families == without.families


def test_coefficients_that_few_readings_leave_alone_are_not_called_measured(gpu_document, tmp_path):
    source, made = tmp_path / "compute.json", tmp_path / "few.yaml"
    source.write_text(json.dumps(gpu_document | {"cases": gpu_document["cases"][:12]}))
    run("fit", source, "--name", "few", "--out", made)
    provenance = read_profile(made).provenance
    assert provenance["matmul.fp16.plateau"].mark == "measured"
    assert provenance["matmul.fp16.sharpness"].mark == "derived"
    assert provenance["matmul.fp16.tiles.2.efficiency"].mark == "derived"


def test_damaged_cases_and_too_few(gpu_document, a100):
    broken = dict(gpu_document["cases"][0]["case"])
    del broken["flops"]
    with pytest.raises(DocumentError, match="flops") as found:
        kernels(gpu_document | {"cases": [gpu_document["cases"][0] | {"case": broken}]})
    assert found.value.problems[0].place.path == ("cases", 0, "case")
    with pytest.raises(InfeasibleError, match="too few"):
        fit_compute(kernels(gpu_document | {"cases": gpu_document["cases"][1:4]}), a100.device)


def run(*arguments):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_gpu_profile_as_a_file(gpu_document, a100, tmp_path):
    source, made = tmp_path / "compute.json", tmp_path / "mine.yaml"
    source.write_text(json.dumps(gpu_document))
    output = run("fit", source, "--name", "mine", "--out", made).output
    assert "matmul fp16" in output
    assert "held out" in output
    profile = read_profile(made)
    assert (profile.device, profile.default, profile.date) == ("a100_sxm_80gb", False, "2026-11-23")
    # What was not measured comes from the device's own profile.
    assert profile.memory == load_profile("a100_sxm_80gb").memory
    assert profile.provenance["streams.embedding.plateau"].mark == "derived"
    assert profile.provenance["matmul.fp16.plateau"].mark == "measured"
    cost = RooflineCost(profile, a100.device)
    errors = [cost.seconds(operator, "fp16") / a100.seconds(operator, "fp16") - 1 for operator in operators(2)]
    assert sorted(map(abs, errors))[len(errors) // 2] < 0.03
    with pytest.raises(UsageError, match="--force"):
        run("fit", source, "--name", "mine", "--out", made)
    assert "these readings" in run("show", made, source).output


def test_a_cpu_gets_a_device_of_its_own(tmp_path, a100):
    data = document(CPU, a100, "fp32", scale=200.0, element_bytes=4)
    samples = kernels(data)
    device = cpu_device("box_device", CPU, samples)
    assert (device.arch, device.sms, device.memory_bytes) == ("cpu", 2, 16e9)
    fastest = max(
        sample.operator.flops / sample.seconds for sample in samples.samples if sample.operator.family == "matmul"
    )
    assert device.peak_flops["fp32"] == fastest
    source, made = tmp_path / "compute.json", tmp_path / "elsewhere.yaml"
    source.write_text(json.dumps(data))
    run("fit", source, "--name", "box", "--out", made)
    read = find_device(str(tmp_path / "box_device.yaml"))
    assert read.name == "box_device"
    assert read.peak_flops["fp32"] == pytest.approx(fastest, rel=1e-3)
    profile = read_profile(made)
    assert profile.devices == ("box_device",)
    assert profile.host_launch_s == 0.0
    assert "these readings" in run("show", made, source).output
    cost = RooflineCost(profile, read)
    relu = memory_bound("relu", Family.ELEMENTWISE, read_bytes=1e8, written_bytes=1e8, element_bytes=4)
    assert cost.seconds(relu, "fp32") == pytest.approx(200.0 * a100.seconds(relu, "fp32"), rel=0.02)


def test_a_device_file_stands_where_a_name_does(tmp_path):
    (tmp_path / "box_device.yaml").write_text(device_text(cpu_device("box_device", CPU, kernels(tiny()))))
    (tmp_path / "cluster.yaml").write_text("node: {gpus: {type: box_device.yaml, count: 1, fabric: none}}\n")
    cluster = load_cluster(tmp_path / "cluster.yaml")
    assert cluster.device(0).arch == "cpu"
    (tmp_path / "box_device.yaml").write_text("device: {arch: cpu}\n")
    with pytest.raises(DocumentError, match="memory"):
        find_device(str(tmp_path / "box_device.yaml"))


def tiny():
    cases = [
        case(matmul("linear", 256, 256, 256, element_bytes=4), "fp32"),
        case(memory_bound("add", Family.ELEMENTWISE, read_bytes=8e7, written_bytes=4e7, element_bytes=4), "fp32"),
    ]
    entries = [{"case": each, "seconds": 1e-3, "spread": 0.0, "repeats": 9, "noisy": False} for each in cases]
    return {"format": "simdml-readings-1", "program": "compute", "environment": CPU, "cases": entries}


def test_every_gpu_survives_its_own_text(tmp_path):
    for name in ("h100_sxm", "t4", "k80"):
        device = find_device(name)
        (tmp_path / f"{name}.yaml").write_text(device_text(device))
        read = find_device(str(tmp_path / f"{name}.yaml"))
        assert read.peak_flops == pytest.approx(dict(device.peak_flops), rel=1e-3)
        assert math.isclose(read.memory_bytes, device.memory_bytes, rel_tol=1e-3)
        assert (read.sms, read.nvlink_links, read.arch) == (device.sms, device.nvlink_links, device.arch)


@pytest.mark.parametrize("name", ["NVIDIA H100 80GB HBM3", "Tesla V100-SXM2-16GB", "NVIDIA A100-SXM4-40GB", "Tesla T4",
                                  "NVIDIA H200", "NVIDIA A100 80GB PCIe"])  # fmt: skip
def test_names_that_drivers_print(name):
    assert find_device(name).arch in ("hopper", "volta", "ampere", "turing")
