"""Tables of measured runs: read, turned into scenarios, replayed and scored."""

import csv
import html
import json
import re
from pathlib import Path

import pytest
import yaml

import simdml
from simdml.cli.main import main
from simdml.errors import DocumentError
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario
from simdml.units import parse_time
from simdml.validation.runs.classic import classic_scenario
from simdml.validation.runs.hardware import cluster_of
from simdml.validation.runs.llm import llm_scenario
from simdml.validation.runs.ranking import layout_groups, spearman
from simdml.validation.runs.reading import Row, Unusable, read_table
from simdml.validation.runs.replay import JOURNAL, Replay, Replayed, replay_row, replay_rows, scenario_of
from simdml.validation.runs.scores import memory_verdicts, score
from simdml.validation.runs.study import bundled_tables, validate_runs
from simdml.validation.runs.table import summary

# Narayanan et al., SC21 (arXiv 2104.04473), Table 1, rows 1 and 3, as the column family of language models has them.
LLM = {
    "id": "sc21-1",
    "gpu": "A100-80GB-SXM",
    "gpus_per_node": "8",
    "num_gpus": "32",
    "inter_link": "8x 200 Gb/s HDR InfiniBand per node (Selene)",
    "framework": "Megatron-LM (commit 6985e589)",
    "model": "GPT-1.7B",
    "layers": "24",
    "hidden": "2304",
    "heads": "24",
    "vocab": "51200",
    "seq_len": "2048",
    "global_batch_seqs": "512",
    "micro_batch": "16",
    "dtype": "fp16",
    "tp": "1",
    "pp": "1",
    "dp": "32",
    "sharding": "none",
    "recompute": "full",
    "metric_status": "measured",
    "iter_time_s_derived": "3.52802",
}
CLASSIC = {
    "id": "tf-1",
    "gpu": "K80 (one GK210 die = 1 GPU)",
    "gpus_per_node": "8",
    "num_gpus": "16",
    "inter_link": "10 Gb/s Ethernet",
    "framework": "TensorFlow 1.x (tf_cnn_benchmarks 9165a70, gRPC)",
    "strategy": "ps_sync (distributed_replicated)",
    "ps_servers": "2",
    "model": "ResNet-50",
    "batch_per_gpu": "64",
    "dtype": "fp32",
    "derived_step_time_s": "1.36352",
}


def row(base, **changes):
    cells = {name: value for name, value in (base | changes).items() if value}
    return Row("llm" if base is LLM else "classic", "table.csv", 2, cells)


def write(path, *rows):
    names = list(dict.fromkeys(name for each in rows for name in each))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(each) for each in arguments])
        out = capsys.readouterr()
        return ended.value.code, out.out, out.err

    return call


def test_both_families_are_read_and_unknown_columns_named(tmp_path):
    table = read_table(write(tmp_path / "own.csv", LLM | {"cost_center": "7"}, LLM | {"id": "", "cost_center": "8"}))
    assert table.family == "llm"
    assert table.unknown_columns == ("cost_center",)
    assert [each.name for each in table.rows] == ["sc21-1", "own:3"]
    assert table.rows[0].measured_s == 3.52802
    assert read_table(write(tmp_path / "old.csv", CLASSIC)).family == "classic"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "needs columns"),
        ("gpu,num_gpus,layers\na,1,2\n", "needs columns global_batch_seqs, heads, hidden"),
        ("gpu,num_gpus,model,strategy,batch_per_gpu\n", "no rows"),
        ("gpu,num_gpus,model,strategy,batch_per_gpu\na,b\n", "other columns than the header's 5"),
        ("gpu,num_gpus,model,strategy,batch_per_gpu\na,b,c,d,e,f\n", "other columns than the header's 5"),
    ],
)
def test_a_table_that_cannot_be_read_says_why(tmp_path, content, message):
    path = tmp_path / "table.csv"
    path.write_text(content)
    with pytest.raises(DocumentError, match=message):
        read_table(path)


def test_a_row_of_sc21_is_the_bundled_scenario():
    found = simdml.run(llm_scenario(row(LLM)))
    assert found.step_time_s == pytest.approx(simdml.run("sc21/row_01").step_time_s, rel=0.01)


def test_a_row_of_tensorflow_is_the_bundled_scenario():
    found = simdml.run(classic_scenario(row(CLASSIC)))
    assert found.samples_per_s == pytest.approx(simdml.run("tfbench/resnet50_batch64_16gpus").samples_per_s, rel=0.02)


@pytest.mark.parametrize(
    ("notes", "kernels"),
    [("FP16 > batch size=64 & without xla", "operations"), ("batch size=64 & with xla", None), ("", None)],
)
def test_berts_graph_is_fused_unless_a_row_says_that_it_is_not(notes, kernels):
    bert = {"model": "BERT-base pre-training", "framework": "TensorFlow 1.15 Horovod", "notes": notes, "ps_servers": ""}
    training = classic_scenario(row(CLASSIC, strategy="ddp/allreduce (NCCL)", **bert))["training"]
    assert training.get("kernels") == kernels
    assert (training["optimizer"], training["fused_optimizer"]) == ("bert_adam", False)


@pytest.mark.parametrize(
    ("link", "nics", "efficiency"),
    [
        ("4x Omni-Path 100 Gb/s per node (Jean Zay)", {"count": 4, "rate": "100 Gbps"}, "omni_path"),
        ("1600 Gbps per node RoCE", {"count": 8, "rate": "200 Gbps"}, "roce"),
        ("10 Gb/s Ethernet", {"count": 1, "rate": "10 Gbps"}, "tcp"),
        ("not stated (DGX InfiniBand 8x HDR 200 Gb/s, from memory)", None, None),
        ("", None, None),
    ],
)
def test_links_are_read_as_far_as_they_are_stated(link, nics, efficiency):
    cluster = cluster_of(row(LLM, inter_link=link))["cluster"]
    assert cluster["node"].get("nics") == nics
    assert cluster.get("network", {}).get("efficiency") == efficiency


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gpu": "AMD Instinct MI250"}, "no GPU like 'AMD Instinct MI250'"),
        ({"sim_ready": "partial:micro_batch"}, "does not say enough: micro_batch"),
        ({"iter_time_s_derived": ""}, "no measured step time"),
        ({"offload": "optimizer"}, "offload of optimizer"),
        ({"layers": "twenty"}, "layers is 'twenty', not a count"),
        ({"dtype": "int8"}, "dtype 'int8'"),
        ({"recompute": "every k-th block"}, "which layers is not stated"),
    ],
)
def test_a_row_that_cannot_be_simulated_has_a_reason(changes, reason):
    with pytest.raises(Unusable, match=reason):
        llm_scenario(row(LLM, **changes))


def test_a_run_that_did_not_fit_is_asked_for_memory_alone():
    (ran, failed) = replay_rows(
        [
            row(LLM),
            row(LLM, metric_status="oom", iter_time_s_derived="", micro_batch="512", num_gpus="1", recompute="none"),
        ],
        processes=1,
    )
    assert ran.error is not None
    assert abs(ran.error) < 0.15
    assert ran.replay.fits
    assert failed.replay.fits is False
    assert failed.replay.predicted_s is None
    verdicts = memory_verdicts([ran, failed])
    assert (verdicts.out_of_memory_found, verdicts.right) == (1.0, 1.0)


def replayed(measured, predicted, **changes):
    return Replayed(row(LLM, iter_time_s_derived=str(measured), **changes), Replay(predicted_s=predicted))


def test_scores_of_known_errors():
    found = score("all", [replayed(1.0, 1.1), replayed(1.0, 0.8), replayed(1.0, 1.0), replayed(1.0, None)])
    assert found is not None
    assert (found.rows, found.bias) == (3, 0.0)
    assert found.mean == pytest.approx(0.1)
    assert found.median == pytest.approx(0.1)
    assert found.worst.error == pytest.approx(-0.2)
    assert score("none", [replayed(1.0, None)]) is None


def test_rank_correlation_is_spearmans():
    assert spearman([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    # 1 - 6 sum(d^2) / (n (n^2 - 1)), with d = 0, 1, -1, 0, 0.
    assert spearman([1, 2, 3, 4, 5], [1, 3, 2, 4, 5]) == pytest.approx(1 - 6 * 2 / 120)
    assert spearman([1, 1, 2], [5, 5, 6]) == pytest.approx(1)


def test_regret_is_what_the_choice_costs():
    group = [replayed(2.0, 3.0, tp="1"), replayed(2.5, 2.0, tp="2"), replayed(4.0, 5.0, tp="4")]
    (found,) = layout_groups([*group, replayed(9.0, 9.0, model="another")])
    assert found.regret == pytest.approx(0.25)
    assert found.chosen.row.text("tp") == "2"
    assert len(found.members) == 3


def test_a_validation_goes_on_where_it_was_stopped(tmp_path):
    path = write(tmp_path / "table.csv", LLM, LLM | {"id": "b", "micro_batch": "8"})
    first = validate_runs([path], processes=1, folder=tmp_path / "out")
    journal = tmp_path / "out" / JOURNAL
    lines = journal.read_text().splitlines()
    assert len(lines) == 2
    journal.write_text(lines[0] + "\n" + lines[1][: len(lines[1]) // 2])
    done = []
    again = validate_runs([path], processes=1, folder=tmp_path / "out", progress=lambda *now: done.append(now))
    assert done == [(2, 2)]
    assert [each.replay for each in again.rows] == [each.replay for each in first.rows]


def test_every_row_is_in_the_summary_or_compared(tmp_path):
    path = write(tmp_path / "table.csv", LLM, LLM | {"id": "mi", "gpu": "MI250"}, LLM | {"id": "p", "sim_ready": "no"})
    validation = validate_runs([path], processes=1)
    words = " ".join(summary(validation))
    assert "1 of 3 rows compared" in words
    assert "no GPU like 'MI250'" in words
    assert "mi first" in words


def test_validate_a_table(run, tmp_path):
    path = write(tmp_path / "mine.csv", LLM, LLM | {"id": "sc21-b", "micro_batch": "8"})
    out, scenarios = tmp_path / "out", tmp_path / "scenarios"
    code, text, messages = run("validate", path, "--jobs", 1, "--out", out, "--export-scenarios", scenarios)
    assert code == 0
    assert "errors of step time by source" in text
    assert "sc21-b" in text
    assert "wrote 2 scenarios" in messages
    rows = list(csv.DictReader((out / "rows.csv").read_text().splitlines()))
    assert [each["id"] for each in rows] == ["sc21-1", "sc21-b"]
    exported = yaml.safe_load((scenarios / "sc21-1.yaml").read_text())
    assert simdml.run(exported).step_time_s == pytest.approx(float(rows[0]["predicted_s"]))
    code, text, _ = run("validate", "runs", path, "--jobs", 1, "--out", out, "--json")
    assert code == 0
    assert json.loads(text)["total"]["rows"] == 2
    code, text, _ = run("validate", path, "--jobs", 1, "--out", out, "--explain", "sc21-1")
    assert code == 0
    (accounts,) = (line for line in text.splitlines() if line.strip().startswith("backward"))
    assert len(re.findall(r"\d (?:s|ms)\b", accounts)) == 2
    assert "runs next to it" in text
    code, _, messages = run("validate", path, "--jobs", 1, "--out", out, "--explain", "sc21-2")
    assert code == 2
    assert "sc21-1" in messages


def test_a_picture_is_drawn(run, tmp_path):
    path = write(tmp_path / "mine.csv", LLM)
    code, _, _ = run("validate", path, "--jobs", 1, "--draw", tmp_path / "errors.svg")
    assert code == 0
    assert "<svg" in (tmp_path / "errors.svg").read_text()


def test_a_table_that_is_not_there(run):
    code, _, messages = run("validate", "nowhere.csv")
    assert code == 3
    assert "cannot read nowhere.csv" in messages


def test_the_bundled_runs_are_of_many_sources_and_say_which():
    tables = [read_table(path) for path in bundled_tables()]
    rows = [each for table in tables for each in table.rows]
    assert not [table.unknown_columns for table in tables if table.unknown_columns]
    assert len(rows) > 150
    assert len({each.source for each in rows}) > 15
    assert all(each.text("source_ref") for each in rows)
    assert len({each.name for each in rows}) == len(rows)
    assert sum(each.out_of_memory for each in rows) >= 10


def test_every_bundled_run_has_a_scenario():
    for path in bundled_tables():
        for each in read_table(path).rows:
            assert build(load_scenario(scenario_of(each)))


@pytest.mark.parametrize("suffix", [".html", ".md"])
def test_a_report_begins_with_the_worst_rows(run, tmp_path, suffix):
    path = write(tmp_path / "mine.csv", LLM, LLM | {"id": "mi", "gpu": "MI250"})
    report = tmp_path / f"accuracy{suffix}"
    code, _, messages = run("validate", path, "--jobs", 1, "--report", report)
    assert code == 0
    assert str(report) in messages
    text = report.read_text()
    assert text.index("Worst rows") < text.index("Errors by group") < text.index("What was fitted, and on what")
    assert "sc21-1" in text
    assert "no GPU like" in text


def test_options_alone_are_of_the_bundled_runs(run, tmp_path):
    code, _, messages = run("validate", "--report", tmp_path / "accuracy.pdf")
    assert code == 2
    assert "cannot write a report as" in messages


def test_the_committed_report_says_what_is_predicted_now():
    """A row that has moved by more than 5 % means: python reports/regenerate.py accuracy."""
    page = html.unescape((Path(__file__).parents[2] / "reports" / "accuracy.html").read_text())
    rows = {each.name: each for path in bundled_tables() for each in read_table(path).rows}
    assert f"{len(rows)} published runs" in page
    cells = r"<th[^>]*>([^<]+)</th>" + 4 * r"\s*<td[^>]*>([^<]*)</td>"
    shown = [match.groups() for match in re.finditer(cells, page) if match[1] in rows]
    assert len(shown) >= 20
    for name, _, measured, predicted, _ in shown[:20:6]:
        assert parse_time(measured) == pytest.approx(rows[name].measured_s, rel=0.01)
        assert parse_time(predicted) == pytest.approx(replay_row(rows[name]).predicted_s, rel=0.05)


def test_links_that_only_the_source_states():
    """Aleph Alpha's rows leave the network open; their paper speaks of one link a node."""
    named = dict(LLM, source="Aleph Alpha layouts", gpus_per_node="8", num_gpus="32", inter_link="")
    assert cluster_of(row(named))["cluster"]["node"]["nics"] == {"count": 1, "rate": "200 Gbps"}
    assert "nics" not in cluster_of(row(dict(named, source="others")))["cluster"]["node"]
