"""Pareto fronts, and the order of candidates by targets, against definitions gone through one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simdml.documents.document import from_mapping
from simdml.studies.plan.front import Staircase, front
from simdml.studies.plan.goal import Goal
from simdml.studies.plan.site import make_site

COSTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6)), max_size=30)
AMOUNTS = st.floats(1e-3, 1e6)


def dominated(costs, every):
    return any(all(a <= b for a, b in zip(other, costs, strict=True)) and other != costs for other in every)


@given(COSTS)
def test_the_front_is_what_nothing_else_beats(every):
    found = front([(costs, costs) for costs in every])
    assert found == sorted(found)
    assert set(found) == {costs for costs in every if not dominated(costs, every)}
    assert len(found) == len(set(found))


@given(COSTS)
def test_a_staircase_covers_what_one_of_its_points_covers(every):
    stairs, added = Staircase(), []
    for first, second, _ in every:
        for x in range(7):
            for y in range(7):
                assert stairs.covers(x, y) == any(a <= x and b <= y for a, b in added)
        stairs.add(first, second)
        added.append((first, second))
    assert stairs.first == sorted(set(stairs.first))


@pytest.fixture(scope="module")
def site():
    scenario = {
        "cluster": "dgx_a100",
        "model": "gpt2",
        "training": {"global_batch": 8, "precision": "fp16"},
        "target": {"steps": 1000},
        "cost": {"gpu_hour": "2 USD/h"},
        "energy": {},
    }
    return make_site(0, "here", "small", from_mapping(scenario), priced=True, powered=True)


@given(
    minimise=st.sampled_from(["time", "cost", "energy", "gpus"]),
    targets=st.tuples(*[st.none() | AMOUNTS] * 3),
    step_s=st.floats(1e-3, 1e3),
    longer=st.floats(1.0, 5.0),
    power_w=st.floats(1.0, 1e5),
    more=st.floats(1.0, 5.0),
)
def test_a_bound_never_comes_after_what_it_bounds(site, minimise, targets, step_s, longer, power_w, more):
    goal = Goal(minimise, *targets)
    assert goal.rank(site, step_s, power_w) <= goal.rank(site, step_s * longer, power_w * more)


def test_targets_that_are_met_come_first(site):
    goal = Goal("cost", deadline_s=500.0)
    dear = replace(site, usd_per_s=10 * site.usd_per_s)
    met, missed = goal.rank(dear, 0.4, None), goal.rank(site, 0.6, None)
    assert met < missed
    assert missed[0] == pytest.approx(1.2)
    assert goal.sums(site, 0.5, 1000.0).joules == pytest.approx(500_000.0)
    assert goal.sums(site, 0.5, None).usd == pytest.approx(8 * 2 * 500 / 3600)


def test_what_a_cluster_draws_at_least(site):
    idle = 0.2 * 8 * 400 + 8 * 412.5
    assert site.least_power_w == pytest.approx(idle)
    assert site.steps == 1000
    assert site.samples_per_step == 8
