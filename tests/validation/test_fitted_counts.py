"""Fitted coefficients are counted by GPU generation, and few are of whole training steps."""

import pytest

from simdml.calibration.profile import Mark, Provenance, available_profiles, load_profile
from simdml.cluster.device import find_device
from simdml.validation.runs.fitted_counts import (
    COLUMNS,
    MOST_OF_WHOLE_STEPS,
    counts_by_generation,
    counts_cells,
    of_whole_steps,
)

COUNTS = {each.generation: each for each in counts_by_generation()}


def test_every_generation_that_has_a_profile_is_counted():
    assert set(COUNTS) == {find_device(load_profile(name).device).arch for name in available_profiles()}
    assert next(iter(COUNTS)) == "kepler"


@pytest.mark.parametrize("generation", COUNTS)
def test_no_generation_has_more_than_fifteen_coefficients_of_whole_steps(generation):
    assert len(COUNTS[generation].whole_steps) <= MOST_OF_WHOLE_STEPS == 15


def test_what_was_fitted_to_whole_steps_is_found():
    """P100's convolutions came from images a second, one plateau of Hopper's from runs of fms-fsdp."""
    assert "streams.normalization.plateau" in COUNTS["pascal"].whole_steps
    assert "matmul.fp16.plateau" in COUNTS["hopper"].whole_steps
    assert COUNTS["blackwell"].whole_steps
    assert COUNTS["ampere"].kernels > 30 > COUNTS["blackwell"].kernels


@pytest.mark.parametrize(
    ("source", "whole"),
    [
        ("fms-fsdp README, eight H100 training runs", True),
        ("carried over from profile h100_sxm: TensorFlow benchmarks, single-GPU rows on synthetic data", True),
        ("picked by how well whole networks are reproduced", True),
        ("Vidur profiles, fp16 forward pieces of transformer layers", False),
    ],
)
def test_sources_tell_what_they_are_of(source, whole):
    assert of_whole_steps(Provenance(Mark.DERIVED, source)) is whole
    assert not of_whole_steps(Provenance(Mark.VENDOR, source))


def test_a_value_that_profiles_share_is_counted_once():
    hopper = COUNTS["hopper"]
    assert len(hopper.whole_steps) < sum(
        sum(map(of_whole_steps, load_profile(name).provenance.values()))
        for name in available_profiles()
        if find_device(load_profile(name).device).arch == "hopper"
    )
    assert len(counts_cells(hopper)) == len(COLUMNS)


def test_an_older_device_is_of_its_own_generation():
    assert find_device("p40").arch == "pascal"
