"""The commands, their flags, and what they print."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import click
import pytest

from simdml import __version__
from simdml.cli import main as command_line
from simdml.cli.explain import TERMS, entry
from simdml.cli.listing import LISTINGS
from simdml.errors import EXIT_CODES

# Flags are a contract: an entry here changes only with a note in the changelog.
FLAGS = {
    "run": ["FILE", "--set", "--json", "--samples", "--trace", "--figure", "--out"],
    "sensitivity": ["FILE", "--set", "--jobs", "--json", "--figure"],
    "compare": ["REFERENCE", "OTHERS", "--set", "--by", "--json", "--figure"],
    "sweep": ["FILE", "--vary", "--set", "--jobs", "--dask", "--out", "--best", "--json"],
    "report": ["SOURCE...", "-o", "--set"],
    "check": ["FILE", "--set"],
    "plan": ["FILE", "--set", "--jobs", "--dask", "--json", "--figure", "--out"],
    "goodput": ["FILE", "--set", "--seeds", "--json", "--figure", "--out"],
    "fleet": ["FILE", "--set", "--jobs", "--json", "--figure", "--out"],
    "list": ["KIND"],
    "topology": ["NAME", "--nodes", "--draw"],
    "calibrate": [],
    "calibrate fit": ["READINGS", "--name", "--out", "--force", "--cluster", "--nccl", "--device"],
    "calibrate show": ["NAME", "READINGS", "--draw", "--cluster", "--nccl", "--device"],
    "calibrate diff": ["FIRST", "SECOND"],
    "validate": [],
    "validate cpu": ["--threads", "--quick", "--out", "--json"],
    "validate runs": [
        *("TABLES", "--explain", "--jobs", "--out", "--export-scenarios", "--json", "--draw", "--report"),
        "--coefficients",
    ],
    "validate live": ["--hosts", "--rate", "--strategy", "--quick", "--json", "--draw"],
    "testbed": [],
    "testbed check": [],
    "testbed sweep": [],
    "testbed exec": ["--hosts", "--rate", "PROGRAM"],
    "explain": ["TERM"],
    "schema": [],
}


def test_flags_are_frozen():
    context = click.Context(command_line.simdml)
    found = {}
    for name in command_line.simdml.list_commands(context):
        command = command_line.simdml.get_command(context, name)
        parts = {"": command, **(command.commands if isinstance(command, click.Group) else {})}
        for part, each in parts.items():
            found[f"{name} {part}".strip()] = [
                parameter.human_readable_name.upper() if isinstance(parameter, click.Argument) else parameter.opts[0]
                for parameter in each.params
            ]
    assert found == FLAGS


def test_help_lists_commands_and_exit_codes(simdml):
    outcome = simdml("--help")
    assert outcome.code == 0
    words = " ".join(outcome.output.split())
    for name in command_line.COMMANDS:
        assert f" {name} " in words
    for code, meaning in EXIT_CODES.items():
        assert f"{code} {meaning}" in words


def test_version(simdml):
    assert simdml("--version").output == f"simdml, version {__version__}\n"


def test_run_prints_for_people_and_for_programs(simdml):
    people = simdml("run", "quickstart")
    assert people.code == 0
    assert "step time" in people.output
    assert people.messages == ""
    assert len(people.output.splitlines()) <= 45
    programs = simdml("run", "quickstart", "--json")
    result = json.loads(programs.output)
    assert programs.messages == ""
    assert result["step_time_s"] > 0
    assert result["num_gpus"] == 8
    assert result["samples_per_s"] == pytest.approx(8 * 128 / result["step_time_s"])


def test_set_changes_one_value(simdml):
    def samples(*arguments):
        return json.loads(simdml("run", "quickstart", "--json", *arguments).output)["samples_per_step"]

    assert samples() == 8 * 128
    assert samples("--set", "training.batch_per_gpu=64") == 8 * 64
    assert samples("--set", "training.batch_per_gpu=64", "--set", "cluster={name: dgx1_v100, nodes: 2}") == 16 * 64


def test_out_and_trace_write_whole_files(simdml, tmp_path):
    outcome = simdml("run", "quickstart", "--out", tmp_path / "new" / "folder", "--trace", tmp_path / "t.json.gz")
    assert outcome.code == 0
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == ["result.json", "trace.json"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "t.json.gz"]
    written = (tmp_path / "new" / "folder" / "result.json").read_text()
    assert written == simdml("run", "quickstart", "--json").output
    assert json.loads((tmp_path / "new" / "folder" / "trace.json").read_text())["traceEvents"]
    assert (tmp_path / "t.json.gz").read_bytes()[:2] == b"\x1f\x8b"


def test_an_old_result_stays_when_a_new_one_cannot_be_written(simdml, tmp_path, monkeypatch):
    (tmp_path / "result.json").write_text("old")

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fails)
    outcome = simdml("run", "quickstart", "--out", tmp_path)
    assert outcome.code == 8
    assert "No space left on device" in outcome.messages
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]
    assert (tmp_path / "result.json").read_text() == "old"


def test_check_explains_lines_defaults_and_memory(simdml):
    outcome = simdml("check", "gpt3_175b_1024_a100")
    assert outcome.code == 0
    words = " ".join(outcome.output.split())
    assert "174.6 B parameters in 98 blocks" in words
    assert "strategy.mesh.dp 16 what tp 8 x pp 8 leave of 1024 GPUs" in words
    assert "training.kernels fused Megatron-LM" in words
    assert "tp 8 x dp 16 x pp 8" in words
    assert words.count("stage ") >= 8
    assert outcome.output.endswith("OK\n")


@pytest.mark.parametrize("kind", LISTINGS)
def test_list(simdml, kind):
    outcome = simdml("list", kind)
    assert outcome.code == 0
    assert len(outcome.output.splitlines()) > 3


def test_list_names_everything(simdml):
    output = simdml("list").output
    assert all(kind in output for kind in LISTINGS)
    for name in ("gpt3_175b", "h100_sxm", "dgx_a100", "1f1b", "parameter_server", "quickstart", "gloo_tcp"):
        assert name in output


def test_topology(simdml, tmp_path):
    picture = tmp_path / "cluster.svg"
    outcome = simdml("topology", "dgx_a100", "--nodes", 4, "--draw", picture)
    assert outcome.code == 0
    assert "a100_sxm_80gb" in outcome.output
    assert "nvswitch" in outcome.output
    assert b"<svg" in picture.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["cluster.svg"]
    assert simdml("topology", "dgx_a1000").code == 4


@pytest.mark.parametrize("name", ["MFU", "mfu", "ring all-reduce", "RING-ALL_REDUCE", "busbw", "1F1B", "max-min"])
def test_explain_finds_terms_and_aliases(simdml, name):
    outcome = simdml("explain", *name.split())
    assert outcome.code == 0
    assert "source" in outcome.output


def test_terms_are_complete_and_distinct():
    assert len(TERMS) >= 60
    names = [name.casefold() for term in TERMS for name in (term.name, *term.aliases)]
    assert len(set(names)) == len(names)
    for term in TERMS:
        assert term.source
        assert term.definition.endswith(".")
        assert entry(term.name).startswith(term.name) or term.is_strategy


def test_every_account_of_a_breakdown_can_be_explained(simdml):
    for name in (
        "bubble",
        "launch",
        "waiting for peers",
        "server wait",
        "exposed dp",
        "exposed dp_shard",
        "exposed tp",
    ):
        assert simdml("explain", name).code == 0


def test_defect_is_one_message_without_traceback(simdml, monkeypatch):
    import simdml.cli.run as run_module

    def broken(*_):
        raise KeyError("a\nb")

    monkeypatch.setattr(run_module, "load_scenario", broken)
    monkeypatch.delenv("SIMDML_DEBUG", raising=False)
    quiet = simdml("run", "quickstart")
    assert quiet.code == 70
    assert "KeyError" in quiet.messages
    assert "report it" in quiet.messages
    assert "Traceback" not in quiet.messages
    assert len(quiet.messages.splitlines()) <= 4
    monkeypatch.setenv("SIMDML_DEBUG", "1")
    assert "Traceback" in simdml("run", "quickstart").messages


def test_interrupt(simdml, monkeypatch):
    import simdml.cli.run as run_module

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "load_scenario", interrupted)
    outcome = simdml("run", "quickstart")
    assert (outcome.code, outcome.messages.strip()) == (130, "interrupted")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end differently")
def test_a_reader_that_leaves_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-m", "simdml", "schema"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, "")


LOADING = """
import sys

class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            eval("interrupt()", {{"interrupt": self.interrupt}})

    def interrupt(self):
        raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
from simdml.cli.start import main
sys.argv = ["simdml", "list", "models"]
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals end a process differently")
@pytest.mark.parametrize("module", ["click", "simdml.cli.listing"])
def test_an_interrupt_while_simdml_is_loaded_ends_as_any_other(module):
    ended = subprocess.run(
        [sys.executable, "-c", LOADING.format(module=module)], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr.strip(), ended.stdout) == (130, "interrupted", "")
