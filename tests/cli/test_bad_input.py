"""Every kind of bad input: a documented exit code, the place, the nearest match, one screen, no traceback."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

SCREEN = 40
NEW_LINE = "\n"
JOB = """\
cluster: {cluster}
model: {model}
training: {training}
strategy: {strategy}
"""


def job(
    cluster="dgx1_v100",
    model="resnet50",
    training="{batch_per_gpu: 32, precision: fp32}",
    strategy="ddp",
):
    return JOB.format(cluster=cluster, model=model, training=training, strategy=strategy)


GRAPH = """\
cluster:
  graph:
    vertices:
      left: {kind: gpu, type: v100, node: 0}
      right: {kind: gpu, type: v100, node: 1}
      left_ram: {kind: host, node: 0}
      right_ram: {kind: host, node: 1}
    edges:
      - {between: [left, left_ram], rate: 12 GB/s}
      - {between: [right, right_ram], rate: 12 GB/s}
model: resnet50
training: {batch_per_gpu: 32}
"""

NETWORK = "{name: pcie_8gpu_25gbe, node: {nics: {rate: %s}}}"

# name: text, exit code, what stands at the place of the problem, pieces of the message
CASES = {
    "unknown key": (
        job(training="{batch_per_gpuu: 32}"),
        3,
        "batch_per_gpuu",
        ['unknown key "batch_per_gpuu"', 'did you mean "batch_per_gpu"?'],
    ),
    "unknown key at the top": (job() + "trainning: {}\n", 3, "trainning", ['did you mean "training"?']),
    "unknown key of a cluster": (
        job(cluster="{name: dgx_a100, nodez: 4}"),
        3,
        "nodez",
        ['unknown key "nodez"', 'or "nodes"?'],
    ),
    "wrong unit Gb": (job(cluster=NETWORK % "400 Gb"), 3, "400 Gb", ['"400 Gb"', "Gbps"]),
    "wrong unit mb": (
        job(strategy="{data_parallel: {bucket_cap: 25 mb}}"),
        3,
        "25 mb",
        ['unknown unit "mb"', "did you mean MB (megabyte)"],
    ),
    "bare number": (
        job(strategy="{data_parallel: {bucket_cap: 25}}"),
        3,
        "25}",
        ["a bare number has no unit", "GiB"],
    ),
    "duplicate key": (job() + "model: vgg16\n", 3, "model: vgg16", ['duplicate key "model"', ":2:1"]),
    "degrees that do not divide": (
        job(model="gpt2", training="{global_batch: 8, microbatch: 1}", strategy="{mesh: {tp: 3}}"),
        5,
        "3}",
        ["tp 3 x pp 1 = 3 does not divide the 8 GPUs", "1, 2, 4"],
    ),
    "stages that do not divide": (
        job(model="gpt2", training="{global_batch: 8, microbatch: 1}", strategy="{mesh: {tp: 2, pp: 3}}"),
        5,
        "3}",
        ["tp 2 x pp 3 = 6 does not divide the 8 GPUs", "with tp 2, pp can be 1, 2, 4"],
    ),
    "dp that is not what is left": (
        job(model="gpt2", training="{global_batch: 8}", strategy="{mesh: {tp: 2, dp: 2}}"),
        5,
        "2}}",
        ["is not the 8 GPUs", "dp 4"],
    ),
    "batch that does not divide": (
        job(training="{global_batch: 100}"),
        5,
        "100}",
        ["does not divide over 8", "96 or 104"],
    ),
    "micro-batch that does not divide": (
        job(training="{batch_per_gpu: 32, microbatch: 5}"),
        5,
        "5}",
        ["do not divide into micro-batches of 5", "1, 2, 4, 8"],
    ),
    "more stages than blocks": (
        job(
            cluster="{name: dgx1_v100, nodes: 4}",
            model="alexnet",
            training="{global_batch: 32, microbatch: 1}",
            strategy="gpipe",
        ),
        5,
        "gpipe",
        ["at most 8 stages, not 32"],
    ),
    "tensor parallel images": (
        job(training="{global_batch: 8}", strategy="{mesh: {tp: 2}}"),
        5,
        "2}}",
        ["no layer that tensor parallelism could split"],
    ),
    "heads that do not divide": (
        job(model="gpt2", training="{global_batch: 8}", strategy="{mesh: {tp: 8}}"),
        5,
        "8}}",
        ["tp 8 does not divide"],
    ),
    "unknown model": (job(model="resnet51"), 4, "resnet51", ['unknown model "resnet51"', '"resnet50"']),
    "unknown GPU": (
        job(cluster="{name: dgx1_v100, node: {gpus: {type: v1000}}}"),
        4,
        "v1000",
        ['unknown GPU "v1000"', "v100"],
    ),
    "unknown schedule": (
        job(
            model="gpt2",
            training="{global_batch: 8}",
            strategy="{mesh: {pp: 8}, pipeline: {schedule: 1f1bb, microbatch: 1}}",
        ),
        4,
        "1f1bb",
        ['unknown pipeline schedule "1f1bb"', 'did you mean "1f1b"'],
    ),
    "unknown strategy": (job(strategy="dpp"), 4, "dpp", ['unknown strategy "dpp"', '"ddp"']),
    "unknown cluster": (job(cluster="dgx_a10"), 4, "dgx_a10", ['unknown cluster "dgx_a10"', '"dgx_a100"']),
    "more nodes than anybody has": (
        job(cluster="{name: dgx_a100, nodes: 100000000}"),
        3,
        "100000000",
        ["100,000,000 nodes are more than the 131,072"],
    ),
    "unknown cluster to change": (
        job(cluster="{name: dgx_a10, nodes: 2}"),
        4,
        "dgx_a10",
        ['unknown cluster "dgx_a10"', '"dgx_a100"'],
    ),
    "unknown profile": (job() + "profile: v100_sxm\n", 4, "v100_sxm\n", ['unknown profile "v100_sxm"', '"v100_sxm2"']),
    "GPU without a profile": (
        job(cluster="{name: dgx_h100, node: {gpus: {type: h20}}}"),
        4,
        "dgx_h100",
        ['"h20"', "name a profile"],
    ),
    "unknown fit": (
        job() + "communication: {node: nccl_v100_nvlnk}\n",
        4,
        "nccl_v100_nvlnk",
        ["nccl_v100_nvlnk", "nccl_v100_nvlink"],
    ),
    "precision the device lacks": (
        job(training="{batch_per_gpu: 32, precision: bf16}"),
        5,
        "bf16",
        ["does not compute in bf16", "fp16"],
    ),
    "no such precision": (
        job(training="{batch_per_gpu: 32, precision: fp61}"),
        3,
        "fp61",
        ['"fp61" is not one of', '"fp16"'],
    ),
    "unreachable rank": (GRAPH, 7, "vertices", ["left", "right"]),
    "zero bandwidth": (job(cluster=NETWORK % "0 Gbps"), 3, "0 Gbps", ["it must be more than zero"]),
    "negative bandwidth": (job(cluster=NETWORK % "-25 Gbps"), 3, "-25 Gbps", ["it is negative"]),
    "NaN": (job(training="{batch_per_gpu: .nan}"), 3, ".nan", [".nan is not a finite number"]),
    "NaN bandwidth": (job(cluster=NETWORK % "nan Gbps"), 3, "nan Gbps", ["does not start with a finite number"]),
    "text for a number": (job(training="{batch_per_gpu: many}"), 3, "many", ['"many"']),
    "no batch": (job(training="{precision: fp32}"), 3, "{precision", ["exactly one of batch_per_gpu and global_batch"]),
    "no model": ("cluster: dgx1_v100\ntraining: {batch_per_gpu: 1}\n", 3, "cluster", ['missing key "model"']),
    "does not fit": (
        job(training="{batch_per_gpu: 4096, precision: fp32}"),
        6,
        "{batch",
        ["the job does not fit", "too much", "activations", "use a smaller micro-batch"],
    ),
    "pipeline without a micro-batch": (
        job(model="gpt2", training="{global_batch: 8}", strategy="{mesh: {pp: 4}}"),
        3,
        "{mesh",
        ["a pipeline needs to know its micro-batch"],
    ),
    "batch per GPU of a spread model": (
        job(model="gpt2", training="{batch_per_gpu: 8}", strategy="{mesh: {tp: 2}}"),
        5,
        "batch_per_gpu",
        ["has no meaning", "use global_batch, 32"],
    ),
    "strategies that exclude each other": (
        job(strategy="{mesh: {tp: 2}, parameter_server: {}}"),
        3,
        "{mesh",
        ["parameter_server does not go with mesh"],
    ),
    "servers without nodes": (
        job(strategy="{parameter_server: {servers: 4, location: dedicated}}"),
        5,
        "{servers",
        ["4 servers need as many server nodes", "servers: {nodes: 4}"],
    ),
    "too many GPUs": (job() + "gpus: 9\n", 5, "9\n", ["wants 9 GPUs and dgx1_v100 has 8"]),
    "an alias": ("a: &b {}\nmodel: *b\n", 3, "&b", ["anchors"]),
    "broken YAML": ("cluster: {name: dgx_a100\nmodel: x\n", 3, ": x", []),
    "a list": ("- cluster\n- model\n", 3, "- cluster", ["not a mapping"]),
    "an empty file": ("", 3, "", ["the file is empty"]),
    "only a comment": ("# nothing\n", 3, "", ["the file is empty"]),
}


def place_of(marker, text):
    before = text[: text.index(marker)]
    return f"{before.count(NEW_LINE) + 1}:{len(before) - before.rfind(NEW_LINE)}"


def check(outcome, code, place, pieces):
    assert outcome.code == code, outcome.messages
    assert outcome.output == ""
    assert place in outcome.messages, outcome.messages
    for piece in pieces:
        assert piece in outcome.messages, outcome.messages
    lines = outcome.messages.splitlines()
    assert 0 < len(lines) <= SCREEN
    assert "Traceback" not in outcome.messages
    assert not re.search(r'File ".*", line \d+', outcome.messages)


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("name", CASES)
def test_bad_scenario(name, command, simdml, tmp_path):
    text, code, marker, pieces = CASES[name]
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    outcome = simdml(command, path)
    if (code, command) == (6, "check"):
        # A check shows what the job would need before it says no.
        assert "GiB" in outcome.output
        outcome = replace(outcome, output="")
    check(outcome, code, f"{path}:{place_of(marker, text)}: " if marker else f"{path}: ", pieces)


def test_binary_file(simdml, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"\x7fELF\x02\x01\x01\x00" + bytes(range(256)))
    check(simdml("run", path), 3, f"{path}: ", ["this is a binary file, not text"])


def test_large_file_is_not_read(simdml, tmp_path):
    path = tmp_path / "bad.yaml"
    with path.open("wb") as file:
        file.truncate(50 * 1024 * 1024)
    check(simdml("run", path), 3, f"{path}: ", ["too large: 50 MiB"])


def test_cyclic_extends(simdml, tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("extends: second.yaml\n")
    second.write_text("extends: first.yaml\n")
    check(simdml("run", first), 3, f"{first}:1:10", ["cyclic extends", "first.yaml -> "])
    first.write_text("extends: first.yaml\n")
    check(simdml("run", first), 3, f"{first}:1:10", ["cyclic extends"])


def test_problem_in_the_file_that_is_extended_is_placed_there(simdml, tmp_path):
    base, scenario = tmp_path / "base.yaml", tmp_path / "scenario.yaml"
    base.write_text(job(model="resnet51"))
    scenario.write_text("extends: base.yaml\ntraining: {batch_per_gpu: 16}\n")
    check(simdml("run", scenario), 4, f"{base}:2:8", ['"resnet50"'])


def test_missing_file(simdml, tmp_path):
    (tmp_path / "scenario.yaml").write_text(job())
    check(simdml("run", tmp_path / "scenari.yaml"), 3, "scenari.yaml", ['did you mean "scenario.yaml"?'])


def test_unknown_bundled_scenario(simdml):
    check(simdml("run", "quickstrt"), 4, "", ['unknown scenario "quickstrt"', '"quickstart"'])


def test_missing_config(simdml, tmp_path):
    path = tmp_path / "scenario.yaml"
    path.write_text(job(model="{config: ./config.json, sequence: 128}"))
    check(simdml("run", path), 3, f"{path}:2:17", ["config.json"])


def test_unknown_layer_kind(simdml, tmp_path):
    path = tmp_path / "scenario.yaml"
    path.write_text(job(model="{layers: [{name: one, kind: liner, inputs: 4, outputs: 4}]}"))
    check(simdml("run", path), 3, f"{path}:2:36", ['"liner"', '"linear"'])


@pytest.mark.parametrize(
    ("assignment", "code", "pieces"),
    [
        ("training.batch_per_gpu=-1", 3, ["--set training.batch_per_gpu"]),
        ("training.precison=fp16", 3, ['did you mean "precision"?']),
        ("training", 2, ["has no value"]),
        ("..=1", 2, ["is not a path"]),
        ("model=resnet51", 4, ['"resnet50"']),
        ("training.batch_per_gpu.x=1", 3, ["not a mapping"]),
    ],
)
def test_bad_assignment(simdml, assignment, code, pieces):
    check(simdml("run", "quickstart", "--set", assignment), code, "", pieces)


@pytest.mark.parametrize(
    ("arguments", "pieces"),
    [
        (["rn", "x"], ["did you mean", "run"]),
        (["run"], ["Missing argument"]),
        (["run", "quickstart", "--jsn"], ["--json"]),
        (["list", "model"], ["models"]),
        (["topology", "dgx_a100", "--nodes", "0"], ["--nodes"]),
        (["run", "quickstart", "--figure", "step.gif"], ["--figure", "'step.gif'", ".png, .svg, .pdf"]),
        (["topology", "dgx_a100", "--draw", "picture"], ["--draw", "'picture'", ".png, .svg, .pdf"]),
        (["validate", "live", "--draw", "x.jpg"], ["--draw", "'x.jpg'"]),
    ],
)
def test_bad_usage(simdml, arguments, pieces):
    check(simdml(*arguments), 2, "", pieces)


def test_unknown_term(simdml):
    check(simdml("explain", "bubbel"), 4, "", ['unknown term "bubbel"', '"bubble"'])


def test_result_that_cannot_be_written(simdml, tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("")
    outcome = simdml("run", "quickstart", "--out", occupied)
    assert outcome.code == 8
    assert "cannot write" in outcome.messages
    assert "Traceback" not in outcome.messages
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file"]
