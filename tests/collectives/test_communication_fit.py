from __future__ import annotations

import math
from pathlib import Path

import pytest
from collective_clusters import make_cluster

from simdml.calibration.communication import EXACT, NcclFit
from simdml.calibration.communication_file import load_communication_fit, load_gloo_fit, load_nccl_fit
from simdml.costs.collectives.fits import default_fit, default_fit_names
from simdml.errors import DocumentError, UnknownNameError
from simdml.resources import data_dir

BUNDLED = sorted(path.stem for path in (data_dir("calibrate") / "communication").glob("nccl_*.yaml"))


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_fits_are_physical(name: str) -> None:
    fit = load_nccl_fit(name)
    assert fit.name == name
    assert 0.0 <= fit.overhead_s < 500e-6
    assert 0.5 <= fit.latency_scale <= 2.0
    assert 0.2 < fit.bandwidth_scale < 1.25
    assert 0.0 <= fit.ramp_s < 1e-3
    assert fit.provenance.rows > 0
    assert fit.provenance.sources
    assert fit.provenance.does_not_claim
    assert fit.provenance.large_log_spread < 0.3


def test_all_classes_are_bundled() -> None:
    assert len(BUNDLED) == 9
    assert load_gloo_fit().step_s == pytest.approx(143e-6, rel=0.01)


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ({"device": "a100_sxm_80gb"}, ("nccl_a100_nvswitch", "nccl_infiniband")),
        ({"device": "h200_sxm", "transport": "roce"}, ("nccl_h100_nvswitch", "nccl_infiniband")),
        ({"device": "b200_sxm", "transport": "efa"}, ("nccl_b200_nvswitch", "nccl_efa")),
        ({"device": "a100_sxm_80gb", "transport": "omni_path"}, ("nccl_a100_nvswitch", "nccl_infiniband")),
        ({"device": "v100_sxm2_16gb", "fabric": "cube_mesh"}, ("nccl_v100_nvlink", "nccl_infiniband")),
        ({"device": "k80", "fabric": "pcie", "transport": "tcp"}, ("nccl_k80_pcie", "nccl_ethernet")),
        ({"device": "l40s", "fabric": "pcie", "transport": "tcp"}, ("nccl_pcie", "nccl_ethernet")),
    ],
)
def test_default_fit_follows_device_and_transport(cluster: dict[str, str], expected: tuple[str, str]) -> None:
    built = make_cluster(**cluster)
    assert default_fit_names(built) == expected
    assert default_fit(built) == load_communication_fit(*expected)


def test_formula() -> None:
    fit = NcclFit("x", 5e-6, 2.0, 0.8, 1.0, 40e-6, EXACT)
    assert fit.latency_s(10e-6) == pytest.approx(25e-6)
    assert fit.wire_s(80e-6) == pytest.approx(100e-6 + math.sqrt(40e-6 * 100e-6))
    assert fit.wire_s(80e-6, in_switch=True) == pytest.approx(80e-6 + math.sqrt(40e-6 * 80e-6))


def test_a_tcp_stream_limits_fast_nics_only() -> None:
    fit = NcclFit("x", 0.0, 1.0, 0.9, 0.9, 0.0, EXACT, nic_bytes_per_s=5e9)
    assert fit.over_nics_of(1.25e9) is fit
    assert fit.over_nics_of(10e9).bandwidth_scale == pytest.approx(0.45)


def test_provenance_knows_its_range() -> None:
    provenance = load_nccl_fit("nccl_h100_nvswitch").provenance
    assert provenance.covers(2**20)
    assert not provenance.covers(2**40)
    assert provenance.log_spread(2**20) == provenance.large_log_spread < provenance.log_spread(2**10)


def test_files_are_read_strictly(tmp_path: Path) -> None:
    text = (data_dir("calibrate") / "communication" / "nccl_pcie.yaml").read_text(encoding="utf-8")
    for broken in (
        text.replace("latency_scale", "latency_scales"),
        text.replace("ramp:", "ramp: 3 #"),
        text.replace("library: nccl", "library: mpi"),
    ):
        path = tmp_path / "fit.yaml"
        path.write_text(broken, encoding="utf-8")
        with pytest.raises(DocumentError, match=r"fit\.yaml"):
            load_nccl_fit(str(path))
        path.unlink()


def test_the_wrong_library_and_unknown_names() -> None:
    with pytest.raises(DocumentError, match="gloo"):
        load_nccl_fit("gloo_tcp")
    with pytest.raises(DocumentError, match="NCCL"):
        load_gloo_fit("nccl_pcie")
    with pytest.raises(UnknownNameError, match="nccl_h100_nvswitch"):
        load_nccl_fit("nccl_h100_nvswich")
