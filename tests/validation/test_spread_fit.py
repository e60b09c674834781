"""Spreads are found again in rows that were drawn from them, and intervals contain what they say."""

from dataclasses import replace

import numpy as np
import pytest

from simdml.calibration.communication_file import load_nccl_fit
from simdml.calibration.cost_groups import CostGroup
from simdml.calibration.spreads_file import read_spreads
from simdml.results.uncertainty import Basis
from simdml.validation.runs.coefficients import coefficients
from simdml.validation.runs.spread_fit import (
    CARRIED,
    DOUBLING,
    STEP,
    USUAL,
    Observation,
    Sample,
    fit_spreads,
    leave_one_out,
    leave_out,
    thinned,
)
from simdml.validation.runs.spread_text import left_out_lines, spread_lines, spreads_text

TRUE = {CostGroup.PRODUCTS: 0.3, CostGroup.NETWORK: 0.1, STEP: 0.05}


def rows(sources=6, each=30):
    """Return rows that are products, or network, by and by, drawn from spreads that are known."""
    generator = np.random.default_rng(1)
    found = []
    for number in range(sources * each):
        part = generator.uniform()
        basis = Basis(({CostGroup.PRODUCTS: part, CostGroup.NETWORK: 1 - part},))
        products, network = (np.exp(TRUE[group] * generator.standard_normal()) for group in list(TRUE)[:2])
        step = part * products + (1 - part) * network
        ratio = float(np.log(step) + TRUE[STEP] * generator.standard_normal())
        found.append(Observation(f"source {number % sources}", ratio, basis))
    return found


@pytest.fixture(scope="module")
def fitted():
    drawn = rows()
    return drawn, fit_spreads(drawn, tails=(20.0,))


def test_spreads_are_found_again(fitted):
    _, fit = fitted
    assert fit.spreads[CostGroup.PRODUCTS] == pytest.approx(0.3, rel=0.25)
    assert fit.spreads[CostGroup.NETWORK] < 0.2
    assert fit.told == {CostGroup.PRODUCTS, CostGroup.NETWORK, STEP}


def test_what_no_row_tells_stays_as_usual(fitted):
    _, fit = fitted
    for name in (CostGroup.CONVOLUTIONS, CARRIED, DOUBLING):
        assert fit.spreads[name] == pytest.approx(USUAL[name])


def test_intervals_contain_what_they_say_in_sources_that_were_left_out(fitted):
    drawn, _ = fitted
    found = leave_one_out(drawn, tails=(20.0,))
    total = sum(each.rows for each in found)
    assert total == len(drawn)
    assert sum(each.inside_90 * each.rows for each in found) / total == pytest.approx(0.9, abs=0.06)
    assert sum(each.inside_50 * each.rows for each in found) / total == pytest.approx(0.5, abs=0.1)
    assert "source 3" in "\n".join(left_out_lines(found))


def test_nothing_of_a_source_is_in_the_fit_that_leaves_it_out():
    """Its rows far off, and of another group of costs: the fit beside it stays as it was, tail and all."""
    drawn = rows(sources=3, each=12)
    other = Basis(({CostGroup.CONVOLUTIONS: 1.0},))
    moved = [replace(each, log_ratio=5.0, basis=other) if each.source == "source 2" else each for each in drawn]
    before, after = (leave_out("source 2", every, tails=(3.0, 20.0)) for every in (drawn, moved))
    assert after.fit == before.fit
    assert after.inside_90 == 0.0 < before.inside_90


def test_narrower_spreads_contain_fewer(fitted):
    drawn, fit = fitted
    sample = Sample(drawn, fit.tail)
    narrow = sample.inside({name: value / 2 for name, value in fit.spreads.items()})
    wide = sample.inside(fit.spreads)
    assert [each.mean() for each in narrow] < [each.mean() for each in wide]


def test_large_sources_are_thinned_evenly():
    drawn = [Observation("one", float(number), Basis(({},))) for number in range(300)]
    kept = [each.log_ratio for each in thinned(drawn)]
    assert len(kept) == 30
    assert kept == [10.0 * number for number in range(30)]


def test_the_file_is_read_back(fitted, tmp_path):
    drawn, fit = fitted
    path = tmp_path / "found.yaml"
    path.write_text(spreads_text(fit, drawn, "2026-11-25"))
    found = read_spreads(path)
    assert found.groups[CostGroup.PRODUCTS].value == pytest.approx(fit.spreads[CostGroup.PRODUCTS], abs=5e-4)
    assert found.groups[CostGroup.PRODUCTS].measured
    assert "source 0 (30)" in found.step.provenance.source
    assert not found.groups[CostGroup.INPUT].measured
    assert any(line.endswith("(an estimate)") for line in spread_lines(fit))


def test_every_fitted_coefficient_says_what_it_was_fitted_on():
    found = coefficients()
    assert all(each.fitted_on for each in found)
    assert len({(each.fit, each.name) for each in found}) == len(found)
    by_name = {(each.fit, each.name): each for each in found}
    plateau = by_name["a100_sxm_80gb", "matmul.fp16.plateau"]
    assert (plateau.value, plateau.log_spread) == (0.762, 0.064)
    rows = load_nccl_fit("nccl_infiniband").provenance.rows
    assert by_name["nccl_infiniband", "overhead_s"].fitted_on.startswith(f"{rows} rows")
