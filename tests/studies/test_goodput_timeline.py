"""The failure timeline: Daly's closed forms, an oracle told event by event, queues of spares, books that balance."""

from __future__ import annotations

from dataclasses import replace
from math import inf, sqrt
from random import Random

import numpy as np
import pytest
from slow_campaign import KINDS, tell

from simdml.studies.goodput.campaign import Campaign, Checkpointing, Interruption, SlowNodes
from simdml.studies.goodput.timeline import simulate_campaign

DAY_S = 86_400.0
CLOSE = 4.0
"""Standard errors: a right answer is further away once in 16,000 times, and seeds are fixed."""

ONE = Interruption("node", 1 / 20_000, detection_s=300)
PLAIN = Campaign(10 * DAY_S, Checkpointing(1800, 60, 0, 100), (ONE,), scheduling_s=200)
BESIDE = replace(PLAIN, checkpoints=Checkpointing(1800, 10, 600, 100))
EVERYTHING = replace(
    BESIDE,
    work_s=3.3 * DAY_S,
    interruptions=(
        Interruption("node", 1 / 9000, detection_s=300),
        Interruption("bug", 1 / 15_000, detection_s=60, replaced=False),
        Interruption("upgrade", 1 / 30_000, planned=True, replaced=False),
    ),
    slow=SlowNodes(1 / 40_000, 1.5, 7200),
    spares=2,
    repair_s=20_000,
)


def mean_of(values):
    return float(np.mean(values)), float(np.std(values, ddof=1)) / sqrt(len(values))


@pytest.mark.parametrize("mtbf_s", [3000, 20_000, 200_000])
@pytest.mark.parametrize("detection_s", [0.0, 500.0])
def test_mean_wall_time_is_dalys(mtbf_s, detection_s):
    campaign = replace(PLAIN, interruptions=(Interruption("node", 1 / mtbf_s, detection_s),))
    mean, error = mean_of(simulate_campaign(campaign, 2000, 1).wall_s)
    assert abs(mean - campaign.closed_form_wall_s()) < CLOSE * error
    assert error < 0.01 * mean


def test_rates_add_up():
    """Two causes are one of both rates and the mean detection."""
    both = (Interruption("a", 1 / 30_000, 100.0), Interruption("b", 1 / 60_000, 700.0, replaced=False))
    campaign = replace(PLAIN, interruptions=both)
    assert campaign.mtbf_s == pytest.approx(20_000)
    assert campaign.closed_form_wall_s() == pytest.approx(PLAIN.closed_form_wall_s())
    mean, error = mean_of(simulate_campaign(campaign, 2000, 2).wall_s)
    assert abs(mean - PLAIN.closed_form_wall_s()) < CLOSE * error


def test_checkpoints_beside_training_follow_the_closed_form_in_the_long_run():
    campaign = replace(BESIDE, work_s=50 * DAY_S, interruptions=(Interruption("node", 1 / 8000, 300),))
    mean, error = mean_of(simulate_campaign(campaign, 300, 3).wall_s)
    assert abs(mean - campaign.closed_form_wall_s()) < CLOSE * error + campaign.checkpoints.interval_s


@pytest.mark.parametrize(
    "campaign",
    [
        PLAIN,
        replace(PLAIN, slow=SlowNodes(1 / 50_000, 2.0, 5000)),
        replace(BESIDE, interruptions=(Interruption("node", 1 / 4000, 300),), work_s=3 * DAY_S),
        replace(PLAIN, spares=1, repair_s=30_000),
        EVERYTHING,
    ],
    ids=["plain", "slow nodes", "beside", "one spare", "everything"],
)
def test_the_timeline_is_what_a_run_told_event_by_event_is(campaign):
    campaign = replace(campaign, work_s=min(campaign.work_s, 5 * DAY_S))
    fast = simulate_campaign(campaign, 1000, 4)
    random = Random(5)
    told = [tell(campaign, random) for _ in range(150)]
    found = dict(zip(KINDS[1:], fast.losses.sum(axis=2), strict=True)) | {"checkpoints": fast.checkpoint_s}
    pairs = {"wall": (fast.wall_s, [wall for wall, _ in told])}
    pairs |= {kind: (found[kind], [account[kind] for _, account in told]) for kind in KINDS}
    for kind, (ours, theirs) in pairs.items():
        (mean, error), (expected, spread) = mean_of(ours), mean_of(theirs)
        assert abs(mean - expected) <= CLOSE * sqrt(error**2 + spread**2) + 1e-6, kind


def test_books_balance_in_every_run():
    runs = simulate_campaign(EVERYTHING, 300, 6)
    assert runs.productive_s == pytest.approx(EVERYTHING.work_s)
    assert (runs.slow_s >= 0).all()
    assert (runs.losses >= 0).all()
    total = runs.productive_s + runs.checkpoint_s + runs.slow_s + runs.losses.sum(axis=(0, 2))
    assert total == pytest.approx(runs.wall_s)
    assert simulate_campaign(PLAIN, 300, 6).slow_s == pytest.approx(0, abs=1)


def test_without_failures_a_run_is_training_and_its_checkpoints():
    campaign = replace(PLAIN, interruptions=(), work_s=10 * 1800.0 + 7)
    runs = simulate_campaign(campaign, 3, 0)
    assert runs.wall_s == pytest.approx(10 * 1860 + 67)
    assert campaign.undisturbed_s == pytest.approx(10 * 1860 + 67)
    assert campaign.closed_form_wall_s() == pytest.approx(10 * 1860 + 67)
    assert simulate_campaign(replace(campaign, work_s=18_000.0), 2, 0).wall_s == pytest.approx(18_600)


def test_a_period_is_watched_to_its_end_and_no_longer():
    for campaign in (PLAIN, EVERYTHING):
        runs = simulate_campaign(replace(campaign, work_s=inf, period_s=5 * DAY_S), 200, 7)
        assert (runs.wall_s == 5 * DAY_S).all()
        assert (runs.productive_s < 5 * DAY_S).all()
        mean = float((runs.wall_s / runs.productive_s).mean())
        if campaign is PLAIN:
            assert mean == pytest.approx(campaign.closed_form_slowdown(), rel=0.02)


def test_without_spares_every_replacement_waits_for_the_repair():
    runs = simulate_campaign(replace(PLAIN, spares=0, repair_s=5000), 100, 8)
    assert runs.losses[2] == pytest.approx(5000.0 * runs.count)
    enough = simulate_campaign(replace(PLAIN, spares=50, repair_s=5000), 100, 8)
    assert not enough.losses[2].any()
    assert (enough.wall_s == simulate_campaign(PLAIN, 100, 8).wall_s).all()


def test_a_node_that_is_never_repaired_in_time_makes_the_queue_wait():
    """One spare and a repair longer than the run: the first failure takes it, the second waits for the first node."""
    campaign = Campaign(DAY_S, Checkpointing(1800, 1), (Interruption("node", 3 / DAY_S),), spares=1, repair_s=DAY_S)
    runs = simulate_campaign(campaign, 400, 9)
    waited, count = runs.losses[2].sum(axis=1), runs.count.sum(axis=1)
    assert not waited[count <= 1].any()
    assert (waited[count == 2] > 0).all()
    assert (waited[count == 2] < DAY_S).all()


def test_rates_that_were_counted_spread_runs_further():
    """Of k events the rate has a relative spread of about 1 / sqrt(k), beside that of the events themselves."""
    exact = Interruption("node", 1 / 5000)
    spread = {}
    for events in (0, 25):
        campaign = replace(PLAIN, work_s=inf, period_s=15 * DAY_S, interruptions=(replace(exact, events=events),))
        spread[events] = simulate_campaign(campaign, 1500, 10).count.sum(axis=1)
    mean = spread[0].mean()
    assert spread[0].std() == pytest.approx(sqrt(mean), rel=0.1)
    assert spread[25].mean() == pytest.approx(mean * 25.5 / 25, rel=0.02)
    assert spread[25].std() == pytest.approx(sqrt(mean + mean**2 / 25), rel=0.1)


def test_the_same_seed_gives_the_same_runs():
    first, again, other = (simulate_campaign(EVERYTHING, 50, seed) for seed in (1, 1, 2))
    assert (first.wall_s == again.wall_s).all()
    assert (first.wall_s != other.wall_s).any()
