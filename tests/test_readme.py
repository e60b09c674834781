"""The README's commands and Python run as written."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("simdml ")]


def test_there_are_commands_to_run():
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_runs(command, tmp_path):
    arguments = shlex.split(command, comments=True)[1:]
    subprocess.run([sys.executable, "-m", "simdml", *arguments], cwd=tmp_path, check=True, capture_output=True)


def test_the_scenario_shown_is_the_one_bundled():
    assert blocks("yaml")[0] == (ROOT / "scenarios" / "gpt3_175b_1024_a100.yaml").read_text(encoding="utf-8")


def test_the_python_runs(tmp_path):
    code = "import matplotlib\nmatplotlib.use('agg')\n" + blocks("python")[0]
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "step.png").stat().st_size > 1000


def test_installation_is_two_single_lines_that_name_what_exists():
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("python3 -m venv")]
    assert len(lines) == 2
    assert (ROOT / "scenarios" / "quickstart.yaml").exists()
    assert "scenarios/quickstart.yaml" in lines[0]
    assert lines[1].endswith("-m pytest")
