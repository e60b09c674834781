"""The interval of a prediction: first-order propagation, and published runs inside it."""

from math import exp, log, sqrt

import pytest

import simdml
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario
from simdml.studies.certainty import NORMAL_90, Certainty, Contribution, certainty

MEASURED_S = {"sc21/row_01": 3.53, "sc21/row_03": 3.70, "sc21/row_05": 14.45}


def sure_of(scenario):
    return certainty(build(load_scenario(scenario)), simdml.run(scenario).step_time_s)


@pytest.mark.parametrize("scenario", MEASURED_S)
def test_published_runs_lie_inside(scenario):
    low, high = sure_of(scenario).interval()
    assert low <= MEASURED_S[scenario] <= high
    assert high / low < 1.5


def test_contributions_add_in_quadrature():
    found = Certainty(2.0, (Contribution("a", 0.3, 0.03), Contribution("b", 0.2, -0.04)))
    assert found.log_spread == pytest.approx(sqrt(0.03**2 + 0.04**2))
    low, high = found.interval()
    assert low * high == pytest.approx(4.0)
    assert log(high / 2.0) == pytest.approx(NORMAL_90 * 0.05)


def test_a_job_of_one_family_is_as_uncertain_as_the_family():
    job = {"cluster": "dgx1_v100", "gpus": 1, "model": "alexnet", "training": {"batch_per_gpu": 2048}}
    scenario = load_scenario(job)
    step_s = simdml.run(job).step_time_s
    for each in certainty(build(scenario), step_s).contributions:
        slower = {**job, "profile": {"compute_scale": {each.name.replace(" ", "_"): exp(each.log_spread)}}}
        assert log(simdml.run(slower).step_time_s / step_s) == pytest.approx(each.step_log_spread, abs=1e-9)


def test_families_that_are_not_computed_add_nothing():
    names = {each.name for each in sure_of("quickstart").contributions}
    assert {"convolution", "pooling", "optimizer"} <= names
    assert not {"attention", "embedding", "softmax"} & names
