import subprocess
import sys
from typing import get_args

import pytest

from simdml.calibration.fitting.listing import list_fit
from simdml.calibration.profile import Mark, available_profiles, default_profile, load_profile
from simdml.calibration.profile_file import Family as FileFamily
from simdml.calibration.profile_file import ProductFamily, StreamFamily, read_profile
from simdml.cluster.device import DEVICES, find_device
from simdml.costs.compute import RooflineCost
from simdml.errors import DocumentError, InfeasibleError, UnknownNameError
from simdml.resources import find
from simdml.workload.operators import Family, attention

NAMES = available_profiles()


def test_first_profiles_are_bundled():
    assert {"k80_tf1", "p100_sxm2", "v100_sxm2", "a100_sxm_80gb", "h100_sxm", "h200_sxm_derived"} <= set(NAMES)


def test_families_of_the_file_are_those_of_operators():
    products = {family.value for family in Family} & set(get_args(ProductFamily))
    assert products | set(get_args(StreamFamily)) == {family.value for family in Family}
    assert len(get_args(FileFamily)) == len(Family)


@pytest.mark.parametrize("name", NAMES)
def test_profile_is_complete(name):
    profile = load_profile(name)
    assert profile.name == name
    assert set(profile.devices) <= set(DEVICES)
    assert profile.does_not_claim
    assert set(profile.spread) == {family.value for family in Family}
    assert all(curve.plateau <= 1.0 for curve in profile.streams.values())
    assert all(curve.plateau <= 1.0 for curve in profile.matmul.values())


@pytest.mark.parametrize("name", NAMES)
def test_every_number_has_a_mark_and_a_source(name):
    provenance = load_profile(name).provenance
    assert "matmul.fp32.plateau" in provenance
    assert "matmul.fp32.tiles.0.efficiency" in provenance
    assert "memory.context_bytes" in provenance
    assert all(origin.source and isinstance(origin.mark, Mark) for origin in provenance.values())


@pytest.mark.parametrize(
    ("device", "name"),
    [("k80", "k80_tf1"), ("v100_sxm2_32gb", "v100_sxm2"), ("a100_sxm_40gb", "a100_sxm_80gb")],
)
def test_default_profile_of_a_device(device, name):
    assert default_profile(device).name == name


def test_no_device_has_two_default_profiles():
    devices = [device for name in NAMES if (p := load_profile(name)).default for device in p.devices]
    assert len(devices) == len(set(devices))


def test_unknown_names_list_what_is_known():
    with pytest.raises(UnknownNameError, match="a100_sxm_80gb"):
        load_profile("a100_sxm_80g")
    with pytest.raises(UnknownNameError, match="h20"):
        default_profile("h20")


@pytest.mark.parametrize(
    ("device", "sibling"),
    [
        ("v100_pcie_16gb", "v100_sxm2_16gb"),
        ("a100_pcie_40gb", "a100_sxm_80gb"),
        ("h100_pcie", "h100_sxm"),
        ("a6000", "a100_sxm_80gb"),
        ("l4", "a100_sxm_80gb"),
    ],
)
def test_boards_of_less_power_keep_the_share_of_the_best_product_that_a100_keeps(device, sibling):
    """253 of 312 TFLOP/s on PCIe and 271 on SXM; all that is inherited counts as derived."""
    found, measured = default_profile(device), default_profile(sibling)
    ratio = found.matmul["fp16"].plateau / measured.matmul["fp16"].plateau
    assert ratio == pytest.approx(253 / 271, abs=1e-3)
    assert found.name.endswith("_derived")
    assert {each.mark for each in found.provenance.values()} <= {Mark.DERIVED, Mark.VENDOR}
    assert found.streams == measured.streams


def test_scales_multiply_and_leave_the_original():
    profile = load_profile("k80_tf1")
    twice = profile.scaled({Family.CONVOLUTION: 1.5}).scaled({Family.CONVOLUTION: 2.0, Family.MATMUL: 0.5})
    assert twice.scale(Family.CONVOLUTION) == 3.0
    assert twice.scale(Family.MATMUL) == 0.5
    assert twice.scale(Family.SOFTMAX) == 1.0
    assert profile.scale(Family.CONVOLUTION) == 1.0


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_scale_must_be_positive(scale):
    with pytest.raises(InfeasibleError):
        load_profile("k80_tf1").scaled({Family.CONVOLUTION: scale})


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("mark: measured", "mark: guessed", "guessed"),
        ("source: tfbench", "source: hearsay", "hearsay"),
        ("host_launch_s:", "host_launch:", "host_launch"),
        ("  softmax:\n", "  softmacks:\n", "softmacks"),
        ("default: true", "default: 1", "default"),
    ],
)
def test_bad_files_say_what_and_where(tmp_path, old, new, expected):
    text = find("calibrate", "profiles/k80_tf1").read_text()
    assert old in text
    path = tmp_path / "bad.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(DocumentError, match=expected) as caught:
        read_profile(path)
    assert "bad.yaml:" in str(caught.value)


def test_a_profile_may_extend_another(tmp_path):
    base = find("calibrate", "profiles/k80_tf1").read_text()
    (tmp_path / "base.yaml").write_text(base)
    (tmp_path / "mine.yaml").write_text(
        "extends: base.yaml\nhost_launch_s: {value: 1.0e-4, mark: measured, source: tfbench}\n"
    )
    profile = load_profile(str(tmp_path / "mine.yaml"))
    assert profile.name == "mine"
    assert profile.host_launch_s == 1.0e-4
    assert profile.matmul == load_profile("k80_tf1").matmul


def test_listing_profiles_loads_neither_numpy_nor_pydantic():
    code = (
        "import sys; from simdml.calibration.profile import available_profiles; import simdml.costs.compute;"
        "available_profiles(); assert not {'numpy', 'pydantic', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def coefficients(name):
    found = {}
    for row in list_fit(name).rows:
        found[row.path] = (row.value, row.mark)
    return found


def test_a_profile_of_the_same_devices_inherits_numbers_as_they_were_found():
    ours, theirs = coefficients("h100_sxm_2023"), coefficients("h100_sxm")
    assert load_profile("h100_sxm_2023").devices == load_profile("h100_sxm").devices
    assert {path for path in theirs if ours[path] != theirs[path]} == {"matmul.fp16.plateau", "matmul.fp8.plateau"}


def test_h200_is_named_as_derived_and_says_what_is_not_the_h100s():
    profile, h100 = load_profile("h200_sxm_derived"), load_profile("h100_sxm")
    assert default_profile("h200_sxm") is profile
    assert "h200_sxm" not in h100.devices
    marks = {path: origin.mark for path, origin in profile.provenance.items()}
    assert {path for path, mark in marks.items() if mark is Mark.MEASURED} == {"streams.elementwise.plateau"}
    ours, theirs = coefficients("h200_sxm_derived"), coefficients("h100_sxm")
    changed = {path for path in ours if ours[path][0] != theirs[path][0] and not path.startswith("spread")}
    streams = {f"streams.{family}.plateau" for family in ("elementwise", "optimizer", "copy")}
    assert changed == {*streams, "attention.fp16.forward"}
    assert all(profile.spread[family] >= h100.spread[family] for family in h100.spread)


@pytest.mark.parametrize(
    ("profile", "bf16", "fp8"),
    [("b200_sxm_derived", (1745.0, 2250.0), (3432.5, 4500.0)), ("gb200_derived", (1822.0, 2500.0), (3615.6, 5000.0))],
)
def test_blackwell_reaches_the_share_of_its_peak_that_the_best_product_has(profile, bf16, fp8):
    """stas00/ml-engineering compute/accelerator: best products; H100 794.5 of 989 and 1402.6 of 1979 TFLOP/s."""
    curves, h100 = load_profile(profile).matmul, load_profile("h100_sxm").matmul
    for precision, (best, peak), share in (("fp16", bf16, 794.5 / 989), ("fp8", fp8, 1402.6 / 1979)):
        assert curves[precision].plateau == pytest.approx(h100[precision].plateau * best / peak / share, abs=1e-3)


def test_what_a_profile_of_another_device_inherits_is_derived_there():
    profile, h100 = load_profile("gb200_derived"), load_profile("h100_sxm")
    assert h100.provenance["matmul.fp16.floor_s"].mark is Mark.MEASURED
    inherited = profile.provenance["matmul.fp16.floor_s"]
    assert inherited.mark is Mark.DERIVED
    assert inherited.source.startswith("carried over from profile h100_sxm: Vidur")
    assert Mark.MEASURED not in {origin.mark for origin in profile.provenance.values()}
    assert profile.provenance["memory.workspace_bytes"].mark is Mark.VENDOR


@pytest.mark.parametrize(
    ("profile", "terabytes_per_s", "device"),
    [("h200_sxm_derived", (4.01, 4.15, 4.48), "h200_sxm"), ("h100_sxm", (2.90, 2.97, 3.18), "h100_sxm")],
)
def test_share_of_the_bandwidth_is_the_mean_of_published_streams(profile, terabytes_per_s, device):
    """Azure/AI-benchmarking-guide Azure_Results: BabelStream copy, triad and dot."""
    share = sum(terabytes_per_s) / 3 * 1e12 / find_device(device).memory_bandwidth_bytes_per_s
    assert load_profile(profile).streams["elementwise"].plateau == pytest.approx(share, abs=0.001)


@pytest.mark.parametrize(
    ("profile", "device", "tflops"), [("h200_sxm_derived", "h200_sxm", 329.3), ("h100_sxm", "h100_sxm", 328.0)]
)
def test_attention_runs_as_fast_as_published(profile, device, tflops):
    """The same: forward of FlashAttention-2, batch 2, sequence 8192, head 128."""
    operator = attention(
        "x", batch=2, heads=16, kv_heads=16, sequence=8192, head_size=128, element_bytes=2, causal=False
    )
    seconds = RooflineCost(load_profile(profile), find_device(device)).seconds(operator, "fp16")
    assert operator.flops / seconds / 1e12 == pytest.approx(tflops, rel=0.005)
