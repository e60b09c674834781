"""Training steps on a CPU against predictions from its kernels: as recorded once, and briefly on this machine."""

import json
from dataclasses import replace
from statistics import median

import pytest
from click.testing import CliRunner

from simdml.calibration.logs.loading import load_measurements
from simdml.cli.validate import command
from simdml.errors import InfeasibleError
from simdml.resources import find
from simdml.validation.cpu.networks import NETWORKS
from simdml.validation.cpu.programs import measure
from simdml.validation.cpu.study import compare, to_dict
from simdml.validation.cpu.table import COLUMNS, cells, summary

LARGEST_ERROR = 0.15
LARGEST_QUICK_RATIO = 4.0
"""Of a step to its prediction by ninety kernels of some ten seconds, on a machine that tests share with others.

Its clock may halve between the kernels and the step: how accurate predictions are is shown by the recorded readings.
"""


def recorded(program):
    return load_measurements(find("calibrate", f"readings/cpu_epyc_1thread_{program}"))


@pytest.fixture(scope="module")
def validation(tmp_path_factory):
    return compare(recorded("compute"), recorded("training"), NETWORKS, tmp_path_factory.mktemp("cpu"))


def test_five_networks_take_what_their_kernels_predict(validation):
    errors = {row.network.name: row.error for row in validation.rows}
    assert len(errors) == 5
    assert max(map(abs, errors.values())) < LARGEST_ERROR, errors
    assert median(map(abs, errors.values())) == validation.median_error < 0.08


def test_no_step_is_among_what_was_fitted():
    assert "training_step" not in {reading.case["family"] for reading in recorded("compute").readings}


def test_a_machine_twice_as_fast_would_be_noticed(validation, tmp_path):
    kernels = recorded("compute")
    halved = tuple(replace(reading, seconds=reading.seconds / 2) for reading in kernels.readings)
    faster = compare(replace(kernels, readings=halved), recorded("training"), NETWORKS, tmp_path)
    for row, fast in zip(validation.rows, faster.rows, strict=True):
        assert fast.predicted_s == pytest.approx(row.predicted_s / 2, rel=0.05)


def test_networks_are_those_that_were_trained(validation, tmp_path):
    from simdml.workload.catalog import find_model
    from simdml.workload.huggingface import read_huggingface
    from simdml.workload.transformer import build_transformer

    document = json.loads(find("calibrate", "readings/cpu_epyc_1thread_training").read_text())
    for network, entry in zip(NETWORKS, document["cases"], strict=True):
        case = entry["case"]
        assert (network.name, network.batch, network.sequence) == (case["model"], case["batch"], case.get("sequence"))
        if network.config:
            config = read_huggingface(network.config)
            assert not config.dropout
            model = build_transformer(config, samples=1, sequence=network.sequence)
        else:
            model = find_model(network.name).build(samples=1)
        assert model.parameter_count == entry["parameter_count"]


def test_result_says_what_was_left_out(validation):
    words = " ".join(summary(validation))
    assert "no step of a network was used" in words
    assert "39 of 377 kernels were noisy" in words
    assert "noisy steps: ResNet-50" in words
    assert len(cells(validation.rows[0])) == len(COLUMNS)
    read = json.loads(json.dumps(to_dict(validation)))
    assert read["worst_absolute_error"] == max(abs(row["error"]) for row in read["networks"])


def test_network_that_was_not_measured_is_named(tmp_path):
    steps = recorded("training")
    with pytest.raises(InfeasibleError, match="gpt2 was not measured"):
        compare(recorded("compute"), replace(steps, readings=steps.readings[:4]), NETWORKS, tmp_path)


def test_program_that_fails_is_reported_with_its_last_lines(tmp_path):
    with pytest.raises(InfeasibleError, match=r"compute\.py ended with") as caught:
        measure("compute", tmp_path, 1, ["--dtypes", "fp128"], lambda _: None)
    assert "fp128" in str(caught.value)
    assert "run it by itself" in (caught.value.hint or "")


def test_this_machine_is_measured_and_predicted(tmp_path):
    pytest.importorskip("torch")
    ran = CliRunner().invoke(command, ["cpu", "--quick", "--json", "--out", str(tmp_path)])
    assert ran.exit_code == 0, ran.output
    (row,) = json.loads(ran.stdout)["networks"]
    assert row["network"] == "resnet50"
    assert row["error"] == pytest.approx(row["predicted_s"] / row["measured_s"] - 1.0)
    assert 1 / LARGEST_QUICK_RATIO < row["predicted_s"] / row["measured_s"] < LARGEST_QUICK_RATIO, row
    assert {"cpu_compute.json", "cpu_training.json", "this_cpu.yaml"} <= {path.name for path in tmp_path.iterdir()}
