"""Intervals on the command line: of a run by default, by simulations if asked; of tables of runs; coefficients."""

import csv
import json

import pytest


def test_a_run_says_how_sure_it_is(simdml):
    out = simdml("run", "sc21/row_01").output
    assert "50 % interval" in out
    assert "90 % interval" in out


def test_samples_give_intervals_too(simdml):
    found = json.loads(simdml("run", "sc21/row_01", "--samples", "20", "--json").output)
    assert found["resampled"]["samples"] == 20
    assert found["resampled"]["median_s"] == pytest.approx(found["uncertainty"]["median_s"], rel=0.15)
    assert "20 simulations" in simdml("run", "sc21/row_01", "--samples", "20").output


def test_every_coefficient_is_listed(simdml):
    found = json.loads(simdml("validate", "--coefficients", "--json").output)["coefficients"]
    assert {"a100_sxm_80gb", "nccl_infiniband", "published_runs"} <= {each["fit"] for each in found}
    assert "fitted on" in simdml("validate", "--coefficients").output


def test_rows_have_intervals(simdml, tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text(
        "id,source,gpu,num_gpus,gpus_per_node,model,strategy,batch_per_gpu,dtype,framework,derived_step_time_s\n"
        "one,mine,V100-SXM2-16GB,8,8,ResNet-50,ddp,64,fp32,PyTorch,0.19\n"
    )
    out = simdml("validate", table, "--out", tmp_path / "out").output
    assert "in their 90 % intervals" in out
    found = json.loads((tmp_path / "out" / "validation.json").read_text())
    assert found["coverage"]["rows"] == 1
    [row] = csv.DictReader((tmp_path / "out" / "rows.csv").read_text().splitlines())
    low, high = float(row["interval_90_low_s"]), float(row["interval_90_high_s"])
    assert (low <= 0.19 <= high) == (row["inside_90"] == "True") == (found["coverage"]["inside_90"] == 1)
