"""Predictions against published runs, blind: no profile was fitted on any of these rows.

Measured step times carry their source; the scenarios that reproduce them are bundled.
"""

from statistics import median

import pytest

import simdml

# Narayanan et al., SC21, Table 1 (arXiv 2104.04473): seconds an iteration, from the printed TFLOP/s and equation 3.
SC21 = {
    "row_01": 3.52802,
    "row_02": 3.69741,
    "row_03": 3.69633,
    "row_04": 9.3993,
    "row_05": 14.4535,
    "row_06": 16.0578,
    "row_07": 24.8174,
    "row_08": 37.6143,
    "row_09": 54.085,
    "row_10": 102.63,
}

# TensorFlow's benchmarks page (May 2017), EC2 p2.8xlarge, distributed_replicated: images/s over all GPUs. The K80
# profile was calibrated on the page's single-GPU rows alone.
TENSORFLOW = {
    "resnet50_batch64_08gpus": 378,
    "resnet50_batch64_16gpus": 751,
    "resnet50_batch64_32gpus": 1388,
    "resnet50_batch64_64gpus": 2744,
    "resnet50_batch32_08gpus": 333,
    "resnet50_batch32_16gpus": 667,
    "resnet50_batch32_32gpus": 1180,
    "resnet50_batch32_64gpus": 2315,
    "inception_batch64_08gpus": 229,
    "inception_batch64_16gpus": 459,
    "inception_batch64_32gpus": 902,
    "inception_batch64_64gpus": 1783,
    "inception_batch32_08gpus": 219,
    "inception_batch32_16gpus": 427,
    "inception_batch32_32gpus": 820,
    "inception_batch32_64gpus": 1608,
}


@pytest.fixture(scope="module")
def sc21_errors():
    return {row: simdml.run(f"sc21/{row}").step_time_s / seconds - 1 for row, seconds in SC21.items()}


@pytest.mark.parametrize("row", SC21)
def test_every_row_of_sc21_table_1_within_15_percent(sc21_errors, row):
    assert abs(sc21_errors[row]) < 0.15


def test_the_median_of_sc21_table_1_within_8_percent(sc21_errors):
    assert median(abs(error) for error in sc21_errors.values()) < 0.08


@pytest.mark.parametrize("row", TENSORFLOW)
def test_tensorflow_parameter_servers_within_15_percent(row):
    assert simdml.run(f"tfbench/{row}").samples_per_s == pytest.approx(TENSORFLOW[row], rel=0.15)
