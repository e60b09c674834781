"""The table of GPUs."""

import pytest

from simdml.cluster.device import ARCHITECTURES, DEVICES, find_device
from simdml.errors import UnknownNameError

KEPLER_TO_TURING = ["k80", "p100_sxm2", "p100_pcie", "v100_sxm2_16gb", "v100_sxm2_32gb", "t4"]
AMPERE_AND_ADA = ["a10", "a100_sxm_40gb", "a100_sxm_80gb", "a100_pcie_40gb", "a100_pcie_80gb", "a6000", "l4", "l40s"]
HOPPER_AND_BLACKWELL = ["h100_sxm", "h100_pcie", "h200_sxm", "b200_sxm", "gb200"]
NEEDED = [*KEPLER_TO_TURING, *AMPERE_AND_ADA, *HOPPER_AND_BLACKWELL]


@pytest.mark.parametrize("name", NEEDED)
def test_every_gpu_promised_is_there(name: str) -> None:
    assert find_device(name).name == name


@pytest.mark.parametrize("device", DEVICES.values(), ids=lambda device: device.name)
def test_peaks_grow_as_precision_falls(device) -> None:  # type: ignore[no-untyped-def]
    order = [device.peak_flops[p] for p in ("fp64", "fp32", "tf32", "fp16", "fp8") if p in device.peak_flops]
    assert order == sorted(order)
    assert device.arch in ARCHITECTURES
    assert device.source


@pytest.mark.parametrize(
    ("name", "total_gb_per_s"),
    [("p100_sxm2", 160), ("v100", 300), ("a100", 600), ("h100", 900), ("b200", 1800)],
)
def test_nvlink_totals_are_both_directions_of_all_links(name: str, total_gb_per_s: float) -> None:
    assert 2 * find_device(name).nvlink_bytes_per_s == total_gb_per_s * 1e9


def test_architecture_follows_compute_capability() -> None:
    found = {name: find_device(name).arch for name in ("k80", "p100", "v100", "t4", "a100", "l4", "h100", "b200")}
    assert list(found.values()) == list(ARCHITECTURES)


def test_tensor_cores_begin_with_volta_and_bfloat16_with_ampere() -> None:
    assert "fp16" not in find_device("k80").peak_flops
    assert "bf16" not in find_device("v100").peak_flops
    assert find_device("a100").peak_flops["bf16"] == 312e12


@pytest.mark.parametrize("written", ["A100-SXM4-80GB", "a100 sxm 80gb", "NVIDIA A100"])
def test_names_are_read_as_people_write_them(written: str) -> None:
    assert find_device(written) is DEVICES["a100_sxm_80gb"]


def test_unknown_gpu_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        find_device("h100_sxn")
    assert "h100_sxm" in caught.value.nearest
