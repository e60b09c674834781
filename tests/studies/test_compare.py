"""Comparisons: the waterfall adds up exactly, inputs and outputs are those of the scenarios, bad input is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_sweeps import JOB

import simdml
from simdml.errors import DoesNotFitError, UsageError
from simdml.reporting.saving import drawing_bytes
from simdml.resources import find
from simdml.studies.compare.comparison import compare
from simdml.studies.compare.figure import BARS_SHOWN
from simdml.studies.compare.table import CAUSES_SHOWN, input_rows, output_rows, percent, waterfall_rows
from simdml.studies.compare.waterfall import SOURCES, Cause, Waterfall, accounts_of, waterfall

NAMES = ["quickstart", "gpt2_xl_1f1b", "vgg16_parameter_server_asynchronous", "custom_layers"]
TICK = Fraction(1, 2**40)


@cache
def run(name):
    return simdml.run(name)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("before", NAMES)
@pytest.mark.parametrize("after", NAMES)
def test_causes_add_up_to_the_difference_exactly(before, after, source):
    fall = waterfall(run(before), run(after), source)
    total = sum((Fraction(cause.seconds) for cause in fall.causes), Fraction(0))
    levels = fall.levels_s()
    assert total == Fraction(levels[-1]) - Fraction(levels[0])
    assert abs(Fraction(levels[0]) - Fraction(run(before).step_time_s)) <= TICK
    assert abs(Fraction(levels[-1]) - Fraction(run(after).step_time_s)) <= TICK
    assert bool(fall.causes) == (before != after)


@pytest.mark.parametrize("source", SOURCES)
def test_a_cause_is_the_difference_of_its_account(source):
    first, second = run("quickstart"), run("gpt2_xl_1f1b")
    accounts = [accounts_of(result, source) for result in (first, second)]
    for cause in waterfall(first, second, source).causes:
        expected = accounts[1].get(cause.account, 0.0) - accounts[0].get(cause.account, 0.0)
        assert cause.seconds == pytest.approx(expected, abs=1e-11)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.5, 2.0), st.floats(0.5, 2.0))
def test_steps_off_the_tick_add_up_too(one, other):
    """A mean over steps is no whole number of ticks, and accounts scaled to it do not add up to it in floats."""
    first, second = (replace(run("quickstart"), step_time_s=run("quickstart").step_time_s * s) for s in (one, other))
    for result, scale in ((first, one), (second, other)):
        object.__setattr__(result, "breakdown", {k: v * scale for k, v in run("quickstart").breakdown.items()})
    fall = waterfall(first, second)
    assert sum(cause.ticks for cause in fall.causes) == fall.ticks
    assert abs(fall.ticks * TICK - (Fraction(second.step_time_s) - Fraction(first.step_time_s))) <= TICK


def test_only_the_network_changed():
    faster = {**JOB, "cluster": {"name": "pcie_8gpu_25gbe", "node": {"nics": {"rate": "100 Gbps"}}}}
    comparison = compare({**JOB, "cluster": "pcie_8gpu_25gbe"}, faster)
    (other,) = comparison.others
    assert [(c.key, c.before, c.after) for c in other.inputs] == [("cluster.node.nics.rate", "", "100 Gbps")]
    assert {cause.account for cause in other.waterfall.causes} <= {"exposed dp", "launch"}
    assert other.waterfall.ticks < 0


def test_inputs_are_compared_with_their_defaults():
    changes = compare(JOB, {**JOB, "training": {**JOB["training"], "microbatch": 16}}, JOB).others
    assert ("training.microbatch", "", "16") in [(c.key, c.before, c.after) for c in changes[0].inputs]
    assert changes[1].inputs == ()
    explicit = {**JOB, "training": {**JOB["training"], "optimizer": "sgd_momentum"}}
    assert compare(JOB, explicit).others[0].inputs == ()


def test_outputs_are_those_of_the_results():
    comparison = compare(JOB, {**JOB, "cluster": {"name": "dgx1_v100", "nodes": 2}})
    found = {change.output.key: change for change in comparison.others[0].outputs}
    assert found["num_gpus"].ratio == 2
    assert found["samples_per_s"].after == comparison.others[0].result.samples_per_s
    assert "tokens_per_s" not in found


def test_tables_and_data_have_every_scenario():
    comparison = compare("quickstart", "gpt2_xl_1f1b", "custom_layers")
    assert {len(row) for row in input_rows(comparison) + output_rows(comparison)} == {4}
    rows = {row[0]: row[1:] for row in input_rows(comparison)}
    assert rows["model.name"] == ["resnet50", "gpt2_xl", "ranker"]
    assert waterfall_rows(comparison.others[0])[-1][0] == "step"
    data = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert [each["scenario"] for each in data["comparisons"]] == ["gpt2_xl_1f1b", "custom_layers"]
    for each in data["comparisons"]:
        fall = each["waterfall"]
        assert sum(Fraction(c["difference_s"]) for c in fall["causes"]) == (
            Fraction(fall["after_s"]) - Fraction(fall["before_s"])
        )
    frame = comparison.to_frame()
    assert set(frame["scenario"]) == {"gpt2_xl_1f1b", "custom_layers"}


def test_many_causes_are_shown_as_the_largest_and_the_rest():
    comparison = compare(JOB, JOB)
    causes = tuple(Cause(f"account {number}", 0, 2**40 // (number + 1)) for number in range(20))
    fall = Waterfall(2**40, 2**40 + sum(cause.ticks for cause in causes), causes)
    other = replace(comparison.others[0], waterfall=fall)
    assert len(waterfall_rows(other)) == CAUSES_SHOWN + 2
    figure = replace(comparison, others=(other,)).plot()
    assert len(figure.axes[0].get_yticklabels()) == BARS_SHOWN + 3


def test_equal_comparisons_give_equal_pictures():
    pictures = [drawing_bytes(compare("quickstart", "custom_layers").plot, "svg") for _ in range(2)]
    assert pictures[0] == pictures[1]
    assert b"From " in pictures[0]


def test_the_same_scenario_twice_has_two_names():
    comparison = compare(JOB, JOB)
    assert comparison.name != comparison.others[0].name
    assert comparison.others[0].waterfall.causes == ()
    file = find("scenarios", "quickstart")
    assert (simdml.compare("quickstart", file).name, compare("quickstart", file).others[0].name) == (
        "quickstart",
        str(file),
    )


def test_percent():
    assert [percent(ratio) for ratio in (0.5, 1.1, 4.0)] == ["-50.0 %", "+10.0 %", "4 x"]


def test_bad_input():
    with pytest.raises(UsageError, match="nothing to compare with"):
        compare(JOB)
    with pytest.raises(UsageError, match='by can be rank or path, not "stage"'):
        compare(JOB, JOB, by="stage")
    with pytest.raises(DoesNotFitError):
        compare(JOB, {**JOB, "training": {"batch_per_gpu": 10**6}})
