"""What servers did: numbers that agree with closed forms, and the same in text, JSON and pictures."""

import json

import pytest
import sample_results
from fakes import StarCluster, job, layer, model

from simdml.cli.writing import json_text
from simdml.costs.model import ServerCost
from simdml.reporting.figures import result_figure
from simdml.reporting.server_text import server_rows
from simdml.results.servers import ServerActivity
from simdml.strategies.parameter_server.plan import ParameterServerPlan


def run(workers=4, *, server_rate=2.0**26, steps=12, **plan):
    cluster = StarCluster(workers, bandwidth=2.0**24, servers=1)
    toy = model([([layer(0.5, 0.5, [2**18])], 0.0)])
    plan = ParameterServerPlan((workers,), placement="sharded", **plan)
    the_job = job(cluster, toy, (("dp", workers),), parameter_server=plan)
    return sample_results.result(the_job, server=ServerCost(server_rate), steps=steps)


def test_jobs_without_servers_have_none():
    assert sample_results.ddp().servers is None
    assert sample_results.ddp().to_dict()["servers"] is None


def test_utilisation_is_the_work_of_a_step():
    """A copy (2 bytes a byte), W - 1 sums (3) and an update (3) a step, on one thread."""
    result = run(4)
    [load] = result.servers.servers
    work_s = 2.0**20 * (2 + 3 * 3 + 3) / 2.0**26
    assert load.utilisation == pytest.approx(work_s / result.step_time_s)
    assert load.pushes_per_step == pytest.approx(4)
    assert load.dropped_per_step == 0


def test_staleness_is_a_distribution():
    for workers in (1, 3, 8):
        found = run(workers, consistency="asynchronous", steps=20).servers
        assert sum(found.staleness.values()) == pytest.approx(1.0)
        assert found.mean_staleness == pytest.approx(workers - 1, rel=0.02, abs=1e-12)
        assert found.staleness_quantile(0.5) == workers - 1
    assert run(4).servers.staleness == {0: 1.0}


def test_quantiles():
    activity = ServerActivity((), {0: 0.25, 2: 0.5, 7: 0.25}, (), 0.0, 0.0)
    assert [activity.staleness_quantile(f) for f in (0.1, 0.25, 0.3, 0.75, 0.8, 1.0)] == [0, 0, 2, 2, 7, 7]
    assert activity.mean_staleness == 0.5 * 2 + 0.25 * 7


def test_dropped_gradients_are_counted():
    """Equal workers with one backup: the last of four gradients comes too late."""
    result = run(4, consistency="backup", backup_workers=1)
    [load] = result.servers.servers
    assert load.dropped_per_step == pytest.approx(1.0, rel=0.05)
    assert dict(server_rows(result.servers))["dropped"].endswith("came too late")


def test_servers_are_in_text_json_and_pictures():
    asynchronous = run(4, consistency="asynchronous", steps=20)
    rows = dict(server_rows(asynchronous.servers))
    assert rows["staleness"].startswith("mean 3.00 updates, median 3, 95 % below 3")
    assert rows["servers busy"].endswith("%")
    plain = json.loads(json_text(asynchronous.to_dict()))["servers"]
    assert plain["mean_staleness_updates"] == pytest.approx(3.0, rel=0.02)
    assert set(plain) == {
        "servers", "staleness_share", "mean_staleness_updates", "held", "pull_waits_for_workers_s",
        "pull_waits_for_servers_s",
    }  # fmt: skip
    titles = [axes.get_title(loc="left") for axes in result_figure(asynchronous).axes]
    assert "Staleness of gradients" in titles
    assert any(title.startswith("Who waits for whom") for title in titles)
    assert len(result_figure(sample_results.ddp()).axes) == 2


def test_who_waits_is_said_by_rank():
    result = sample_results.parameter_server()
    held = result.servers.held
    assert list(held) == sorted(held, key=lambda each: -each.seconds_per_pull)
    assert all(each.rank != each.by for each in held)
    if held:
        first = held[0]
        assert f"rank {first.rank} for rank {first.by}" in dict(server_rows(result.servers))["who waits"]
