"""Every bundled scenario loads, checks and runs; folding changes nothing; the schema file is up to date."""

from __future__ import annotations

import json
import math

import pytest

from simdml.cli.writing import json_text
from simdml.documents.schemas import SchemaTree
from simdml.resources import available, find
from simdml.scenario.building import build
from simdml.scenario.explaining import defaults, explain_lines
from simdml.scenario.json_schema import scenario_schema
from simdml.scenario.loading import load_scenario
from simdml.scenario.simulate import run, simulate

NAMES = [name for name in available("scenarios") if "/" not in name]
LINES = 30


@pytest.mark.parametrize("name", NAMES)
def test_scenario_runs(name):
    scenario = load_scenario(name)
    result = simulate(scenario)
    assert result.name == name
    assert 0.0 < result.mfu < 1.0
    assert math.isfinite(result.step_time_s)
    assert result.samples_per_s == result.samples_per_step / result.step_time_s
    assert all(estimate.fits for estimate in result.memory)
    for breakdown in result.breakdowns:
        assert sum(breakdown.seconds.values()) == pytest.approx(result.step_time_s, rel=1e-9)
    json.loads(json_text(result.to_dict()))


@pytest.mark.parametrize("name", available("scenarios"))
def test_scenario_is_short_and_introduces_itself(name):
    path = find("scenarios", name)
    lines = path.read_text(encoding="utf-8").splitlines()
    up = "../" * name.count("/") or "./"
    assert lines[0] == f"# yaml-language-server: $schema={up}scenario.schema.json"
    assert lines[1].startswith("# ")
    assert len(lines) <= LINES


@pytest.mark.parametrize("name", available("scenarios"))
def test_scenario_is_explained_line_by_line(name):
    built = build(load_scenario(name))
    assert built.program().mesh.num_ranks == built.job.mesh.num_ranks
    built.fitting_memory()
    lines = explain_lines(built)
    assert len(lines) > 3
    assert [line.path for line in lines if not line.meaning and line.path != "description"] == []
    taken = defaults(built)
    assert all(choice.reason for choice in taken)
    given = {line.path for line in lines}
    assert not given & {choice.path for choice in taken}


def test_lines_of_the_file_that_is_extended_say_so():
    where = {line.path: line.where for line in explain_lines(build(load_scenario("gpt2_xl_1f1b")))}
    assert where["strategy.pipeline.schedule"] == "5"
    assert where["training.global_batch"] == "gpt2_xl_gpipe.yaml:6"
    changed = explain_lines(build(load_scenario("gpt2_xl_1f1b", ["training.global_batch=8"])))
    assert {line.path: line.where for line in changed}["training.global_batch"] == "--set"


@pytest.mark.parametrize(
    "name",
    [
        "quickstart",
        "gpt2_xl_1f1b",
        "llama3_8b_dgx_h100",
        "llama3_8b_fsdp2",
        "gpt2_xl_zero2_offload",
        "resnet50_dataparallel",
    ],
)
def test_folded_equals_unfolded(name):
    assert run(name).step_time_s == run(name, simulate={"fold": False}).step_time_s


def test_schema_file_is_up_to_date():
    """Regenerate with: simdml schema > scenarios/scenario.schema.json."""
    path = find("scenarios", "quickstart").parent / "scenario.schema.json"
    assert path.read_text(encoding="utf-8") == json_text(scenario_schema())


def test_schema_describes_every_property():
    schema = scenario_schema()
    references = {f"#/$defs/{name}" for name in schema["$defs"]}
    assert set(_references(schema)) <= references
    tree = SchemaTree(schema)
    for name, value in schema["properties"].items():
        assert tree.description([value]), name


def _references(schema):
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"]
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)
