"""Intervals of a step: closed forms of their width, and what they are made of against simulations."""

from dataclasses import asdict, replace
from functools import cache
from math import exp, hypot, log

import pytest

from simdml.calibration.cost_groups import CostGroup
from simdml.calibration.profile import Mark, Provenance
from simdml.calibration.spreads import Spread, Spreads
from simdml.results.exposure import exposure
from simdml.results.plain import result_to_dict
from simdml.results.saved import read_saved
from simdml.results.uncertainty import STEP, Basis, Uncertainty, uncertainty
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario
from simdml.scenario.simulate import simulate_built
from simdml.studies.resampling import recosted

NORMAL_50, NORMAL_90 = 0.6745, 1.6449
NEARLY_NORMAL = 1e6
SOURCE = Provenance(Mark.MEASURED, "a test")
DP = {
    "cluster": "dgx1_v100",
    "model": "resnet50",
    "training": {"batch_per_gpu": 64, "precision": "fp32"},
    "strategy": "ddp",
}


def spreads(step=0.0, carried=0.0, doubling=0.0, tail=NEARLY_NORMAL, **groups):
    by_group = {group: Spread(groups.get(group.name.lower(), 0.0), SOURCE) for group in CostGroup}
    one = (Spread(step, SOURCE), Spread(carried, SOURCE), Spread(doubling, SOURCE), Spread(tail, SOURCE))
    return Spreads("test", by_group, *one)


def widths(found):
    """Return the lower and upper half of both intervals as logarithms."""
    (lower, higher), (low, high) = found.interval_50_s, found.interval_90_s
    return [log(each / found.step_s) for each in (low, lower, higher, high)]


def test_a_step_of_one_group_is_as_uncertain_as_the_group():
    found = uncertainty(2.0, Basis(({CostGroup.PRODUCTS: 1.0},)), spreads(products=0.1))
    expected = [0.1 * each for each in (-NORMAL_90, -NORMAL_50, NORMAL_50, NORMAL_90)]
    assert widths(found) == pytest.approx(expected, abs=0.005)
    assert found.median_s == pytest.approx(2.0, rel=0.003)


def test_residual_group_and_step_add_in_quadrature():
    basis = Basis(({CostGroup.STREAMS: 1.0},), residual={CostGroup.STREAMS: 0.03}, sampling=0.05)
    found = uncertainty(1.0, basis, spreads(streams=0.04, step=0.12))
    assert widths(found)[-1] == pytest.approx(NORMAL_90 * hypot(0.03, 0.04, 0.12, 0.05), rel=0.04)


def test_what_was_carried_over_and_what_is_beyond_the_measured_ranks_is_wider():
    known, more = Basis(({CostGroup.ATTENTION: 1.0},)), spreads(attention=0.1, carried=0.2, doubling=0.05)
    carried = replace(known, carried_over={CostGroup.ATTENTION: ("because",)})
    beyond = replace(carried, doublings=4.0)
    wide = [log(uncertainty(1.0, each, more).interval_90_s[1]) for each in (known, carried, beyond)]
    expected = [0.1, hypot(0.1, 0.2), hypot(0.1, 0.2, 0.2)]
    assert wide == pytest.approx([NORMAL_90 * each for each in expected], rel=0.04)
    assert uncertainty(1.0, carried, more).contributions[0].reasons == ("because",)


def test_a_hidden_path_lengthens_the_step_and_never_shortens_it():
    hidden = Basis(({CostGroup.PRODUCTS: 1.0}, {CostGroup.NETWORK: 0.95}))
    found = uncertainty(1.0, hidden, spreads(network=0.2))
    low, _, _, high = widths(found)
    assert low == 0.0
    assert high == pytest.approx(log(0.95) + NORMAL_90 * 0.2, abs=0.01)
    by_name = {each.name: each for each in found.contributions}
    network = by_name[CostGroup.NETWORK.words]
    assert (network.share, network.step_log_spread) == (0.0, pytest.approx(log(0.95 * exp(0.2))))


def test_a_heavier_tail_is_wider_far_out_alone():
    basis = Basis(({CostGroup.PRODUCTS: 1.0},))
    heavy, light = (widths(uncertainty(1.0, basis, spreads(products=0.1, tail=tail))) for tail in (3.0, 1e6))
    # Student's t with 3 degrees of freedom: quantiles 0.7649 and 2.3534.
    assert heavy[2:] == pytest.approx([0.07649, 0.23534], rel=0.05)
    assert heavy[3] / heavy[2] > light[3] / light[2]


def test_equal_bases_have_equal_intervals_and_survive_a_record():
    basis = Basis(({CostGroup.PRODUCTS: 0.7, CostGroup.NODE: 0.3},), doublings=1.0)
    found = uncertainty(1.0, basis, spreads(products=0.1, step=0.02, doubling=0.01))
    assert found == uncertainty(1.0, Basis.from_plain(asdict(basis)), spreads(products=0.1, step=0.02, doubling=0.01))
    assert Uncertainty.from_plain(asdict(found)) == found
    assert STEP in {each.name for each in found.contributions}


@cache
def run(name, **changes):
    built = build(load_scenario(DP if name == "dp" else name, changes=changes))
    return built, simulate_built(built, must_fit=False)


@pytest.mark.parametrize(
    "name",
    [
        "quickstart",
        "dp",
        "resnet50_ddp_25gbe",
        "gpt2_xl_1f1b",
        "llama2_7b_hsdp",
        "resnet50_dataparallel",
        "sc21/row_01",
    ],
)
def test_shares_are_the_derivatives_of_the_step(name):
    built, result = run(name)
    critical = exposure(result.recording, built.costs).paths[0]
    assert sum(critical.values()) == pytest.approx(result.step_time_s, rel=1e-6)
    for group in CostGroup:
        slower = replace(built, costs=recosted(built, dict.fromkeys(CostGroup, 1.0) | {group: 1.001}))
        longer = simulate_built(slower, must_fit=False).step_time_s - result.step_time_s
        assert longer / 0.001 == pytest.approx(critical.get(group, 0.0), abs=0.02 * result.step_time_s), group


def test_no_path_is_longer_than_the_step():
    for name in ("resnet50_ddp_25gbe", "llama2_7b_hsdp", "gpt2_xl_1f1b"):
        built, result = run(name)
        exposed = exposure(result.recording, built.costs)
        assert len(exposed.paths) > 1
        assert all(sum(path.values()) <= exposed.step_s * 1.0011 for path in exposed.paths)


def test_a_step_bound_by_launches_is_launches():
    training = {"batch_per_gpu": 1, "sequence": 64}
    built = build(load_scenario({"cluster": "dgx_h100", "gpus": 1, "model": "gpt2", "training": training}))
    built = replace(built, costs=replace(built.costs, host_launch_s=1e-3))
    result = simulate_built(built)
    critical = exposure(result.recording, built.costs).paths[0]
    assert critical[CostGroup.LAUNCHES] > 0.9 * result.step_time_s


def test_results_carry_their_intervals():
    _, result = run("quickstart")
    found = result.uncertainty
    low, high = found.interval_90_s
    lower, higher = found.interval_50_s
    assert low < lower < result.step_time_s < higher < high
    assert read_saved(result_to_dict(result)).uncertainty == found
