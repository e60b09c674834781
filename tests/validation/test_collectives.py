"""Tables of collectives: read, predicted as NCCL would run them, and scored by size."""

import csv
from math import log, sqrt

import pytest

from simdml.calibration.communication_file import load_nccl_fit
from simdml.calibration.cost_groups import CostGroup
from simdml.calibration.spreads import load_spreads
from simdml.cluster.loading import load_cluster
from simdml.costs.collectives.fits import default_fit
from simdml.costs.collectives.nccl import nccl_cost
from simdml.costs.collectives.plan import CollectiveKind
from simdml.errors import OutputError
from simdml.studies.sweep.lines import Lines
from simdml.validation.runs.collectives import collective_plan
from simdml.validation.runs.reading import Row, Unusable, read_table
from simdml.validation.runs.replay import JOURNAL, replay_row, scenario_of
from simdml.validation.runs.study import validate_runs
from simdml.validation.runs.table import summary

# Azure/AI-benchmarking-guide, ND_H100_v5_results.md: all-reduce over 8 H100, NCCL 2.18.5.
H100 = {
    "machine": "Azure ND96isr H100 v5 (8x H100 SXM)",
    "gpus": "8",
    "nodes": "1",
    "collective": "all_reduce",
    "size_bytes": "8589934592",
    "busbw_GBps": "478.87",
    "nccl_version": "2.18.5",
}


@pytest.fixture
def read(tmp_path):
    def call(*rows):
        path = tmp_path / "table.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
            writer.writeheader()
            writer.writerows(rows)
        return read_table(path)

    return call


def test_a_table_of_collectives_is_known_by_its_columns(read):
    table = read(H100, H100 | {"busbw_GBps": "", "oop_time_us": "30000", "ip_time_us": "29000"})
    assert table.family == "collective"
    assert table.unknown_columns == ()
    # busbw = 2 (n - 1) / n x size / time (nccl-tests, doc/PERFORMANCE.md).
    assert table.rows[0].measured_s == pytest.approx(8589934592 * 2 * 7 / 8 / 478.87e9)
    assert table.rows[1].measured_s == pytest.approx(0.029)
    assert table.rows[0].source == H100["machine"]


def test_the_prediction_is_nccls_plan_on_the_machine_of_the_row(read):
    (row,) = read(H100).rows
    cluster = load_cluster({"name": "dgx_h100", "nodes": 1})
    plan = nccl_cost(cluster, default_fit(cluster), "2.18.5").plan(CollectiveKind.ALL_REDUCE, range(8), 2**33)
    replay = replay_row(row)
    assert replay.predicted_s == plan.time_s(2**33)
    assert sum(replay.account_s.values()) == pytest.approx(replay.predicted_s)
    assert replay.predicted_s == pytest.approx(row.measured_s, rel=0.05)


@pytest.mark.parametrize("name", ["all_gather", "reduce_scatter", "broadcast", "reduce", "alltoall", "sendrecv"])
def test_every_collective_of_nccl_tests_is_predicted(read, name):
    (row,) = read(H100 | {"collective": name}).rows
    assert 0 < collective_plan(row).latency_s < replay_row(row).predicted_s


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"collective": "gather"}, "collective 'gather' is none of all_reduce"),
        ({"size_bytes": "0"}, "it moves nothing"),
        ({"gpus": "9", "nodes": "2"}, "9 GPUs on 2 nodes"),
        ({"gpus": "16"}, "16 GPUs a node, and such a node has 8"),
        ({"nodes": "some"}, "nodes is 'some', not a count"),
        ({"machine": "MI300X"}, "no GPU like 'MI300X'"),
    ],
)
def test_a_collective_that_cannot_be_predicted_has_a_reason(read, changes, reason):
    (row,) = read(H100 | changes).rows
    assert reason in replay_row(row).reason


def test_a_site_has_its_own_network(read):
    rows = read(
        H100 | {"machine": "a100_p4de.24xlarge_2node", "gpus": "16", "nodes": "2"},
        H100 | {"machine": "a100_other_2node", "gpus": "16", "nodes": "2"},
    ).rows
    # Four NICs of 100 Gb/s a node against eight of 200 Gb/s: between two and four times as slow.
    slow, fast = (replay_row(row).predicted_s for row in rows)
    assert 2 < slow / fast < 4


def test_collectives_are_scored_by_size_and_have_no_scenario(read, tmp_path):
    table = read(H100, H100 | {"size_bytes": "1024", "busbw_GBps": "", "oop_time_us": "26"})
    validation = validate_runs([tmp_path / "table.csv"], processes=1)
    assert [score.name for score in validation.collective_scores] == ["from 1 MiB on", "below 1 MiB"]
    assert "collectives below 1 MiB" in " ".join(summary(validation))
    with pytest.raises(Unusable):
        scenario_of(table.rows[0])
    assert isinstance(table.rows[0], Row)


def test_intervals_of_a_collective_are_those_of_its_fit(read, tmp_path):
    read(
        H100, H100 | {"size_bytes": "1024", "busbw_GBps": "", "oop_time_us": "26"}, H100 | {"nodes": "4", "gpus": "32"}
    )
    large, small, across = validate_runs([tmp_path / "table.csv"], processes=1).rows
    node = load_nccl_fit("nccl_h100_nvswitch").provenance
    tail = load_spreads().tail.value
    for each, spread in ((large, node.large_log_spread), (small, node.small_log_spread)):
        low, high = each.uncertainty.interval_s(50)
        # Half of a Student t lies within its upper quartile, 0.741 of its scale for four degrees of freedom.
        assert tail == 4
        assert log(high / low) == pytest.approx(2 * 0.741 * spread / sqrt(2), rel=0.05)
    assert list(across.replay.basis.residual) == [CostGroup.NETWORK]
    assert "intervals" in " ".join(summary(validate_runs([tmp_path / "table.csv"], processes=1)))


def test_one_validation_at_a_time_writes_a_folder(read, tmp_path):
    read(H100)
    out = tmp_path / "out"
    with Lines(out / JOURNAL), pytest.raises(OutputError, match="another process is writing"):
        validate_runs([tmp_path / "table.csv"], processes=1, folder=out)
    validate_runs([tmp_path / "table.csv"], processes=1, folder=out)
    done = []
    validate_runs([tmp_path / "table.csv"], processes=1, folder=out, progress=lambda *now: done.append(now))
    assert done == []
