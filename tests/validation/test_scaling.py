"""Runs that differ in the number of GPUs alone, as groups and as pictures."""

import csv
import time

import pytest

from simdml.cli.main import main
from simdml.cli.progress import watch_rows
from simdml.validation.runs.figures_of_groups import OF_A_SOURCE, groups_figure, scaling_figure, widest
from simdml.validation.runs.reading import Row
from simdml.validation.runs.replay import Replay, Replayed
from simdml.validation.runs.scaling import scaling_groups
from simdml.validation.runs.study import RunsValidation

# InternLM/InternEvo, doc/en/train_performance.md: 7B on A100, tokens a second of one GPU by GPUs (batch grows).
ROW = {
    "source": "InternEvo",
    "gpu": "A100-80GB-SXM",
    "gpus_per_node": "8",
    "framework": "InternEvo",
    "model": "InternLM-7B",
    "layers": "2",
    "hidden": "512",
    "heads": "8",
    "seq_len": "512",
    "micro_batch": "1",
    "dtype": "bf16",
    "tp": "1",
    "pp": "1",
    "sharding": "zero1",
}


def run(gpus, batch, seconds, error, **changes):
    cells = ROW | {"num_gpus": str(gpus), "global_batch_seqs": str(batch), "iter_time_s": str(seconds)} | changes
    return Replayed(Row("llm", "table.csv", 2, cells), Replay(predicted_s=seconds * (1 + error)))


def weak(**changes):
    return [run(gpus, 4 * gpus, 2.0, 0.25, **changes) for gpus in (8, 32, 16)]


def test_a_batch_that_grows_with_the_gpus_is_weak_scaling():
    (group,) = scaling_groups(weak())
    assert group.weak
    assert [(point.gpus, point.measured, point.predicted) for point in group.points] == [
        (8, 2.0, 1.6),
        (16, 2.0, 1.6),
        (32, 2.0, 1.6),
    ]
    assert group.span == 4


def test_one_batch_is_strong_scaling_and_equal_runs_are_averaged():
    (group,) = scaling_groups(
        [run(8, 64, 8.0, 0.0), run(8, 64, 4.0, 0.0), run(16, 64, 4.0, 0.0), run(32, 64, 4.0, 1.0)]
    )
    assert not group.weak
    assert [point.measured for point in group.points] == [1.5, 1.0, 0.5]
    assert [point.predicted for point in group.points] == [1.5, 1.0, 0.25]


@pytest.mark.parametrize("changes", [{"tp": "2"}, {"micro_batch": "2"}, {"gpu": "H100"}, {"source": "another"}])
def test_what_differs_otherwise_is_another_group(changes):
    assert scaling_groups([*weak()[:2], *weak(**changes)[2:]]) == []
    assert len(scaling_groups([*weak(), *weak(**changes)])) == 2


def test_pictures_show_a_panel_a_group_and_few_of_a_source():
    rows = [each for size in range(5) for each in weak(hidden=str(512 * size))]
    groups = scaling_groups(rows)
    assert len(groups) == 5
    assert len(widest(groups)) == OF_A_SOURCE
    panels = [axes for axes in scaling_figure(groups).axes if axes.get_visible()]
    assert len(panels) == OF_A_SOURCE
    assert [line.get_label() for line in panels[0].lines] == ["measured", "predicted"]
    assert [axes.get_title() for axes in groups_figure(RunsValidation((), tuple(rows))).axes] == [
        "by GPU",
        "by strategy",
        "by GPUs",
    ]


def test_a_page_and_its_text_are_written_by_one_command(tmp_path):
    path = tmp_path / "mine.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*ROW, "num_gpus", "global_batch_seqs", "iter_time_s"])
        writer.writeheader()
        writer.writerows(each.row.cells for each in weak())
    files = [tmp_path / name for name in ("accuracy.html", "accuracy.md")]
    with pytest.raises(SystemExit) as ended:
        main(["validate", str(path), "--jobs", "1", *(part for file in files for part in ("--report", str(file)))])
    assert ended.value.code == 0
    page, text = (file.read_text() for file in files)
    assert "How jobs scale" in page
    assert "How jobs scale" in text
    assert {file.name for file in tmp_path.glob("*.svg")} == {
        f"accuracy-{name}.svg" for name in ("accuracy", "groups", "scaling")
    }


def test_progress_is_told_in_lines_with_what_is_left(monkeypatch, capsys):
    monkeypatch.setattr("simdml.cli.progress.LINE_EVERY_S", 0.0)
    with watch_rows() as progress:
        # 90 rows are from before: ten rows a second are what this run has done.
        later = time.monotonic() + 1.0
        monkeypatch.setattr("simdml.cli.progress.time.monotonic", lambda: later)
        for done in range(91, 101):
            progress(done, 110)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "100 of 110 rows, 1 s left"
