"""The same scenario and seed give the same bytes, wherever and whenever they are run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from simdml.resources import find


def written(scenario, folder, hash_seed):
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    subprocess.run(
        [sys.executable, "-m", "simdml", "run", str(scenario), "--out", str(folder)],
        check=True,
        capture_output=True,
        env=environment,
    )
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("name", ["quickstart", "gpt2_xl_1f1b", "vgg16_parameter_server_asynchronous"])
def test_result_files_are_byte_identical(name, tmp_path):
    first = written(name, tmp_path / "first", "1")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(find("scenarios", name).parent, elsewhere)
    second = written(elsewhere / f"{name}.yaml", tmp_path / "second", "2")
    assert first == second
    assert set(first) == {"result.json", "trace.json"}
    assert str(tmp_path).encode() not in first["result.json"]
    assert os.getcwd().encode() not in first["result.json"]
