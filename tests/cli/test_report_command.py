"""``simdml report``: every source, both forms, bad input, nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path

import pytest
from html_nesting import check_complete

JOB = "cluster: dgx1_v100\nmodel: alexnet\ntraining: {batch_per_gpu: 32}\ngpus: 2\n"
VARY = JOB + "vary: {gpus: [1, 2, 4], training.batch_per_gpu: [32, 10000000]}\n"


@pytest.fixture
def _quickly(monkeypatch):
    """Leave the drawing itself out."""
    drawn = b'<svg xmlns="http://www.w3.org/2000/svg"><text>memory</text></svg>'
    monkeypatch.setattr("simdml.reporting.saving.drawing_bytes", lambda draw, kind: drawn)


@pytest.fixture
def made(simdml, tmp_path, monkeypatch):
    """Return a function that makes a report and returns its page."""
    monkeypatch.chdir(tmp_path)
    Path("job.yaml").write_text(JOB)
    Path("vary.yaml").write_text(VARY)

    def make(*arguments, name="report.html", code=0):
        outcome = simdml("report", *arguments, "-o", name)
        assert outcome.code == code, outcome.messages
        assert "Traceback" not in outcome.messages
        return Path(name).read_text() if code == 0 else outcome.messages

    return make


def record(simdml, *arguments):
    return json.loads(simdml(*arguments, "--json").output)


@pytest.mark.usefixtures("_quickly")
def test_a_scenario_and_its_record_make_the_same_report(simdml, made):
    page = made("job.yaml")
    check_complete(page)
    simdml("run", "job.yaml", "--out", "out")
    assert made("out", name="other.html") == page
    for text in (
        "with 90 % confidence",
        "What binds it",
        "Assumptions and their sources",
        "vendor",
        "guess",
        "measured",
    ):
        assert text in page


def test_a_sweep_says_which_is_best_and_what_cannot_run(simdml, made):
    page = made("vary.yaml")
    check_complete(page)
    assert "Best by throughput: gpus 4, batch_per_gpu 32, with " in page
    assert "does not fit" in page
    assert 'aria-label="Throughput against GPUs for 3 variants.' in page
    simdml("sweep", "vary.yaml", "--jobs", 1, "--out", "out")
    assert made("out", name="again.html") == page


@pytest.mark.usefixtures("_quickly")
def test_scenarios_are_compared(simdml, made):
    Path("faster.yaml").write_text(JOB.replace("gpus: 2", "gpus: 4"))
    page = made("job.yaml", "faster.yaml")
    check_complete(page)
    assert "faster trains most a second" in page
    Path("compare.json").write_text(json.dumps(record(simdml, "compare", "job.yaml", "faster.yaml")))
    assert made("compare.json", name="again.html") == page


@pytest.mark.usefixtures("_quickly")
def test_cost_and_target_are_part_of_the_answer(made):
    assert "Cost and energy" not in made("job.yaml")
    Path("priced.yaml").write_text(JOB + "cost: {gpu_hour: 2 USD/h}\ntarget: {samples: 1 M}\nenergy: {}\n")
    page = made("priced.yaml", name="priced.html")
    assert re.search(r'class="lead">.*To the target: [\d.]+ \w+ and [\d.]+ USD\.', page)
    assert "Cost and energy" in page
    assert "POLCA" in page


@pytest.mark.usefixtures("_quickly")
def test_weeks_with_failures_are_reported(simdml, made):
    failing = JOB.replace("gpus: 2", "gpus: 8") + "target: {samples: 10 G}\n"
    failing += "goodput: {failures: [{component: node, mtbf: 3 d}], checkpoint: {to: 1 GB/s}, runs: 20}\n"
    Path("failing.yaml").write_text(failing)
    page = made("failing.yaml")
    check_complete(page)
    assert re.search(r'class="lead">Training takes .* of the time is training that is kept', page)
    assert "Failures and what they cost" in page
    simdml("goodput", "failing.yaml", "--out", "out")
    assert made("out", name="again.html") == page


@pytest.mark.usefixtures("_quickly")
def test_sensitivities_are_reported(simdml, made):
    Path("s.json").write_text(json.dumps(record(simdml, "sensitivity", "job.yaml", "--jobs", 1)))
    page = made("s.json")
    check_complete(page)
    assert "job is bound most by" in page


@pytest.mark.usefixtures("_quickly")
def test_markdown_has_its_pictures_beside_it(made):
    text = made("job.yaml", name="report.md")
    for name in ("tornado", "timeline", "topology", "memory"):
        assert f"(report-{name}.svg)" in text
        assert Path(f"report-{name}.svg").read_text().startswith("<!-- simdml report -->\n<svg")


@pytest.mark.usefixtures("_quickly")
def test_numbers_that_cannot_be_had_again_are_shown_as_they_were(simdml, made):
    data = record(simdml, "run", "job.yaml")
    Path("result.json").write_text(json.dumps({**data, "step_time_s": 12.5}))
    page = made("result.json")
    assert "takes 12.5 s" in page
    assert "predicts another step time for the same scenario" in page
    assert "A step as it passes" not in page
    data["inputs"]["scenario"]["cluster"] = "./gone.yaml"
    Path("result.json").write_text(json.dumps(data))
    assert "cannot be built here" in made("result.json")


@pytest.mark.usefixtures("_quickly")
def test_a_report_is_replaced_and_nothing_else_is(made):
    made("job.yaml")
    assert "12 GPUs" not in made("job.yaml")
    Path("notes.html").write_text("<html>mine</html>")
    assert "is there and is no report" in made("job.yaml", name="notes.html", code=8)
    assert Path("notes.html").read_text() == "<html>mine</html>"
    Path("r-memory.svg").write_text("<svg>mine</svg>")
    assert "r-memory.svg is there" in made("job.yaml", name="r.md", code=8)
    assert not Path("r.md").exists()


@pytest.mark.usefixtures("_quickly")
def test_a_full_disk_leaves_nothing(made, monkeypatch):
    write = Path.write_text

    def full(path, text, **options):
        if "memory" in text:
            write(path, text[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    assert "No space left on device" in made("job.yaml", name="new/report.md", code=8)
    assert list(Path("new").iterdir()) == []


def altered(change):
    def make(simdml):
        data = record(simdml, "run", "job.yaml")
        Path("x.json").write_text(json.dumps(change(data)))
        return ["x.json"]

    return make


def text_file(text):
    def make(simdml):
        Path("x.json").write_bytes(text)
        return ["x.json"]

    return make


def without(*keys):
    return altered(lambda data: {key: value for key, value in data.items() if key not in keys})


BAD = {
    "no such scenario": (lambda _: ["jobb"], 4, "unknown scenario"),
    "no such file": (lambda _: ["jobb.json"], 3, 'no file "jobb.json"'),
    "a folder without a record": (lambda _: ["."], 3, "the folder has no record: result.json"),
    "no JSON": (text_file(b'{"record": '), 3, "x.json:1:12: the file is no JSON"),
    "binary": (text_file(b"\xff\xfe\x00"), 3, "the file is no JSON"),
    "foreign JSON": (text_file(b"[1, 2]"), 3, "does not say what it is a record of"),
    "nested without end": (text_file(b"[" * 100_000), 3, "the file is no JSON"),
    "older": (without("record", "format"), 3, "though simdml 0.1.0 wrote it"),
    "another format": (altered(lambda data: {**data, "format": 7}), 3, 'format "7"; this simdml reads format 1'),
    "another kind": (altered(lambda data: {**data, "record": "resullt"}), 4, 'did you mean "result"?'),
    "damaged": (without("memory"), 3, "the record is not whole: no 'memory'"),
    "odd value": (altered(lambda data: {**data, "breakdowns": 3}), 3, "the record is not whole"),
    "nothing": (altered(lambda data: {**data, "breakdowns": []}), 3, "the record is not whole"),
    "two records": (lambda _: ["x.json", "y.json"], 2, "it goes without several sources"),
    "record with --set": (lambda _: ["x.json", "--set", "gpus=1"], 2, "it goes without --set"),
    "does not fit": (lambda _: ["job.yaml", "--set", "training.batch_per_gpu=100000"], 6, "does not fit"),
}


@pytest.mark.usefixtures("_quickly")
@pytest.mark.parametrize("case", BAD)
def test_bad_input(simdml, made, case):
    arguments, code, text = BAD[case]
    messages = made(*arguments(simdml), code=code)
    assert text in messages
    assert len(messages.splitlines()) < 12


@pytest.mark.usefixtures("_quickly")
@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("x.pdf", 2, "print it to PDF"),
        ("x.txt", 2, "end the name in .html or .md"),
        ("folder.html", 8, "is a folder"),
        ("job.yaml/x.html", 8, "cannot write"),
    ],
)
def test_bad_names(made, name, code, text):
    Path("folder.html").mkdir()
    assert text in made("job.yaml", name=name, code=code)


FLEET = """
fleet:
  beside: [{}]
  queue:
    count: 50
    repeats: 3
    goal: {wait: 1 h}
    jobs: [{name: short, gpus: 1, every: 1 h, runs: 2 h}, {name: long, gpus: 4, every: 8 h, runs: 10 h}]
"""


@pytest.mark.usefixtures("_quickly")
def test_fleets_are_reported(simdml, made):
    job = "cluster: {name: dgx1_v100, nodes: 2}\nmodel: alexnet\ntraining: {batch_per_gpu: 32}\ngpus: 8\n"
    Path("fleet.yaml").write_text(job + FLEET)
    page = made("fleet.yaml")
    check_complete(page)
    assert re.search(r"the fewest on which 50 % of the jobs wait at most .* fleet.* is slowed most", page)
    assert "What more nodes change" in page
    assert "How much jobs slow each other" in page
    simdml("fleet", "fleet.yaml", "--out", "out", "--jobs", 1)
    assert made("out", name="again.html") == page


@pytest.mark.usefixtures("_quickly")
def test_plans_are_reported_with_their_proof(simdml, made):
    job = "cluster: dgx1_v100\nmodel: alexnet\ntraining: {batch_per_gpu: 32}\n"
    chosen = "target: {samples: 1 G}\ncost: {gpu_hour: 2 USD/h}\n"
    plan = "plan: {clusters: [dgx1_v100, dgx1_p100], strategies: [ddp, horovod], finish_within: 1 h, minimise: cost}\n"
    Path("plan.yaml").write_text(job + chosen + plan)
    page = made("plan.yaml")
    check_complete(page)
    assert re.search(r'class="lead">On dgx1_v100: .* USD, .* a step. No candidate meets every target', page)
    assert "The search: 4 strategies on 2 clusters" in page
    assert 'aria-label="How fast each alternative is against what it takes (cost of training, USD).' in page
    simdml("plan", "plan.yaml", "--out", "out", "--jobs", 1)
    again = made("out", name="again.html")
    lead = r'class="lead">(.*?)</p>'
    # How many were simulated depends on the number of processes; the answer does not.
    assert re.search(lead, again)[1] == re.search(lead, page)[1]
