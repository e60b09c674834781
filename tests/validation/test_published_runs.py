"""Predictions against published runs, blind: no profile was fitted on any of these rows.

Measured step times carry their source; the scenarios that reproduce them are bundled.
"""

import re
from functools import cache
from pathlib import Path
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

# The same page, Inception v3 on one p2.8xlarge, in one process with the variables on its CPU: GPUs, batch and images/s
# (variable_update=parameter_server). The preset also counts calls between processes, which are not made there.
TENSORFLOW_ONE_PROCESS = [(2, 64, 58.7), (4, 64, 117.0), (8, 64, 230.0), (2, 32, 57.5), (4, 32, 114.0), (8, 32, 216.0)]


predicted = cache(simdml.run)


@pytest.fixture(scope="module")
def sc21_errors():
    return {row: predicted(f"sc21/{row}").step_time_s / seconds - 1 for row, seconds in SC21.items()}


@pytest.mark.parametrize("row", SC21)
def test_every_row_of_sc21_table_1_within_15_percent(sc21_errors, row):
    assert abs(sc21_errors[row]) < 0.15


def test_the_median_of_sc21_table_1_within_8_percent(sc21_errors):
    assert median(abs(error) for error in sc21_errors.values()) < 0.08


@pytest.mark.parametrize("row", TENSORFLOW)
def test_tensorflow_parameter_servers_within_15_percent(row):
    assert predicted(f"tfbench/{row}").samples_per_s == pytest.approx(TENSORFLOW[row], rel=0.15)


@pytest.mark.parametrize(("gpus", "batch", "images_per_s"), TENSORFLOW_ONE_PROCESS)
def test_tensorflow_parameter_server_in_one_process_within_15_percent(gpus, batch, images_per_s):
    result = simdml.run(f"tfbench/inception_batch{batch}_08gpus", gpus=gpus)
    assert result.samples_per_s == pytest.approx(images_per_s, rel=0.15)


README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
HALF_A_POINT = 0.005
"""The README is brought up to date when a change moves a row by more."""


def test_readme_shows_sc21_as_it_is_predicted(sc21_errors):
    rows = re.findall(r"^\| GPT .* \| ([\d.]+) s \| ([\d.]+) s \| ([+-][\d.]+) % \|$", README, re.MULTILINE)
    assert len(rows) == len(SC21)
    for (measured, shown, error), (row, seconds) in zip(rows, SC21.items(), strict=True):
        assert float(measured) == pytest.approx(seconds, abs=0.006)
        assert float(shown) / float(measured) - 1 == pytest.approx(float(error) / 100, abs=0.002)
        assert float(error) / 100 == pytest.approx(sc21_errors[row], abs=HALF_A_POINT)


def test_readme_shows_tensorflow_as_it_is_predicted():
    names = {"ResNet-50": "resnet50", "Inception v3": "inception"}
    rows = re.findall(r"^\| (ResNet-50|Inception v3), batch (\d+) \| (.*) %? ?\|$", README, re.MULTILINE)
    assert len(rows) == 4
    for model, batch, cells in rows:
        for gpus, (measured, error) in zip((8, 16, 32, 64), re.findall(r"(\d+), ([+-][\d.]+)", cells), strict=True):
            row = f"{names[model]}_batch{batch}_{gpus:02d}gpus"
            assert float(measured) == TENSORFLOW[row]
            now = predicted(f"tfbench/{row}").samples_per_s / TENSORFLOW[row] - 1
            assert float(error) / 100 == pytest.approx(now, abs=HALF_A_POINT), row
