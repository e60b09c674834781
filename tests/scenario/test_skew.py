"""GPUs that are not equally fast: the slowest of so many sets the pace."""

from math import log, pi, sqrt

import numpy as np
import pytest

import simdml
from simdml.errors import DocumentError
from simdml.scenario.skew import expected_maximum, skew_factor

JOB = {
    "cluster": {"name": "dgx_a100", "nodes": 2},
    "model": "gpt2",
    "training": {"batch_per_gpu": 4, "precision": "fp16", "sequence": 256},
}
SKEW = {"skew": "2 %"}


@pytest.mark.parametrize(("count", "expected"), [(1, 0.0), (2, 1 / sqrt(pi)), (3, 1.5 / sqrt(pi)), (5, 1.16296)])
def test_maximum_of_a_few_normal_numbers(count, expected):
    # The closed forms of two and three, and the tabulated one of five (Harter 1961).
    assert expected_maximum(count) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("count", [16, 1000, 100_000])
def test_maximum_of_many_is_below_its_limit_and_as_drawn(count):
    assert expected_maximum(count // 2) < expected_maximum(count) < sqrt(2 * log(count))
    drawn = np.random.default_rng(1).normal(size=(200, count)) if count < 10_000 else None
    if drawn is not None:
        assert expected_maximum(count) == pytest.approx(drawn.max(axis=1).mean(), abs=0.12)


def computing(result):
    return sum(value for key, value in result.breakdown.items() if str(key) in ("forward", "backward"))


def test_every_kernel_takes_as_long_as_on_the_slowest():
    plain, skewed = simdml.run(JOB), simdml.run({**JOB, "faults": [SKEW]})
    assert computing(skewed) / computing(plain) == pytest.approx(skew_factor(0.02, 16), rel=2e-3)
    assert skewed.step_time_s > plain.step_time_s


def test_ranks_stay_one_class_and_folding_is_exact():
    document = {**JOB, "faults": [SKEW]}
    folded = simdml.run(document, **{"simulate.fold": True})
    unfolded = simdml.run(document, **{"simulate.fold": False})
    assert folded.step_time_s == unfolded.step_time_s


def test_workers_that_do_not_wait_have_no_skew():
    document = {
        "cluster": {"name": "dgx1_v100", "nodes": 2},
        "model": "resnet50",
        "training": {"batch_per_gpu": 8},
        "strategy": "downpour",
        "faults": [SKEW],
    }
    with pytest.raises(DocumentError, match="wait for each other"):
        simdml.run(document)
