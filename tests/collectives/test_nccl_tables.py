from __future__ import annotations

import pytest

from simdml.costs.collectives.nccl_tables import Algorithm, Architecture, Hardware, Protocol, nvlink_model_share, tables
from simdml.errors import InfeasibleError


def test_a_version_takes_the_newest_row_not_after_it() -> None:
    assert tables("2.18.4").version == (2, 18, 3)
    assert tables("2.18").version == (2, 18, 3)
    assert tables("2.30.7") is tables("2.32.3") is tables()


@pytest.mark.parametrize(
    ("version", "tree_base", "ring_base", "tree_step", "ring_net"),
    [
        ("2.7.8", 0.0, 8.4, (28.0, 28.0, 50.0), 9.6),
        ("2.8.4", 0.0, 8.4, (28.0, 28.0, 28.0), 9.6),
        ("2.12.12", 0.0, 8.4, (28.0, 28.0, 28.0), 28.0),
        ("2.18.5", 0.0, 8.4, (4.0, 6.0, 14.0), 14.0),
        ("2.20.5", 0.0, 8.4, (28.0, 28.0, 28.0), 14.0),
        ("2.27.7", 8.4, 8.4, (4.0, 4.0, 14.0), 14.0),
        ("2.28.9", 8.4, 8.4, (4.0, 4.0, 14.0), 14.0),
    ],
)
def test_simple_latencies_by_version(
    version: str, tree_base: float, ring_base: float, tree_step: tuple[float, float, float], ring_net: float
) -> None:
    constants = tables(version)
    assert constants.base_us[Algorithm.TREE][Protocol.SIMPLE] == tree_base
    assert constants.base_us[Algorithm.RING][Protocol.SIMPLE] == ring_base
    assert tuple(constants.step_us[row][Algorithm.TREE][Protocol.SIMPLE] for row in Hardware) == tree_step
    assert constants.step_us[Hardware.NET][Algorithm.RING][Protocol.SIMPLE] == ring_net


def test_nvls_and_caps_by_version() -> None:
    assert not tables("2.16.2").nvls
    assert [tables(v).step_us[Hardware.NVLINK][Algorithm.NVLS][2] for v in ("2.18.5", "2.21.5")] == [23.0, 25.0]
    assert [tables(v).step_us[Hardware.NET][Algorithm.NVLS_TREE][2] for v in ("2.28.3", "2.28.9")] == [14.0, 20.9]
    assert [tables(v).ll_cap[Architecture.HOPPER][0] for v in ("2.20.5", "2.21.5")] == [87.7, 141.0]
    assert [tables(v).ring_ll128_cap[Architecture.BLACKWELL][0] for v in ("2.28.9", "2.30.7")] == [73.4, 40.0]
    assert [tables(v).tree_cap[Architecture.AMPERE][1] for v in ("2.8.4", "2.10.3")] == [22.5, 23.6]
    assert [tables(v).pat for v in ("2.27.7", "2.28.3")] == [False, True]


@pytest.mark.parametrize("version", ["two", "2", "2.6.4", "2.18.5.1"])
def test_versions_that_are_not_known(version: str) -> None:
    with pytest.raises(InfeasibleError, match="NCCL"):
        tables(version)


def test_nvlink_rates_are_those_nccl_reckons_with() -> None:
    reckoned = {cc: round(rate * nvlink_model_share(cc), 3) for cc, rate in {70: 25, 80: 25, 90: 25, 100: 50}.items()}
    assert reckoned == {70: 20.0, 80: 20.0, 90: 20.6, 100: 40.1}
    assert nvlink_model_share(103) == nvlink_model_share(100)
