"""Whole published sets: replayed from a folder of tables, kept as numbers, scored against their targets."""

import csv
import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from simdml.errors import DocumentError
from simdml.validation.runs.reading import Row
from simdml.validation.sets import evidence
from simdml.validation.sets.certainty import fitted_sentences
from simdml.validation.sets.definitions import Fitted, Measure, Target, group_name
from simdml.validation.sets.definitions_file import read_definitions
from simdml.validation.sets.replaying import find_tables, replay_tables
from simdml.validation.sets.rows import COLUMNS, KeptRow, read_rows, rows_text
from simdml.validation.sets.section import DEFINITIONS, FOLDER, ROWS, sections, sets_sections
from simdml.validation.sets.tables import letters
from simdml.validation.sets.verdicts import MEASURES, errors_of, floor, regret, scatter, scored

REPORTS = Path(__file__).parents[2] / "reports"
BUNDLED = REPORTS / FOLDER
ROW = KeptRow("table", "one", ("set",), "group", 1.0, 1.1, 50, "", "", "", "", None, True, True, 0.5, None, (), "")
CELLS = {"gpu": "V100-SXM2-16GB", "num_gpus": "1", "model": "ResNet-50", "strategy": "single", "dtype": "fp32"}
SETS = """
tables:
  small: {source: "this test", groups: [gpu, model, num_gpus]}
sets:
  half:
    name: Half of it
    table: small
    where: {model: ResNet}
    below: {batch_per_gpu: 64}
    targets: [{measure: mean error, at_most: 0.0001}]
    reasons: [{groups: V100, because: "one reason,\\n  over two lines"}, {because: a remark on all of it}]
  whole:
    name: All of it
    targets: [{measure: inside 90 % intervals, at_least: 0, at_most: 1}]
"""


def rows(*errors, **changes):
    """Return a row for each of ``errors``."""
    return [
        replace(ROW, row=str(number), predicted_s=1 + error, **changes) for number, error in enumerate(errors, start=1)
    ]


def run(**cells):
    return Row("classic", "small.csv", 2, {name: text for name, text in (CELLS | cells).items() if text})


def llm(**cells):
    return Row("llm", "table.csv", 2, {"iter_time_s": "1", "layers": "12", "hidden": "512"} | cells)


def test_a_kept_row_is_read_back(tmp_path):
    kept = [ROW, replace(ROW, measured_s=None, predicted_s=None, inside=None, ran=None, fits=None, reason="a, b")]
    kept.append(replace(ROW, sets=("one", "two"), memory_error=-0.25, unstated=("vocab",), line="3"))
    path = tmp_path / "rows.csv"
    path.write_text(rows_text(kept))
    assert read_rows(path) == tuple(kept)


@pytest.mark.parametrize("text", ["", "table,row\n", ",".join(COLUMNS) + "\n" + ",".join("x" * len(COLUMNS)) + "\n"])
def test_another_file_is_refused_with_what_makes_it_again(tmp_path, text):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(DocumentError, match="rows") as caught:
        read_rows(path)
    assert "regenerate.py accuracy --sets" in str(caught.value)


def test_the_scatter_is_the_least_mean_error_of_any_common_factor():
    ratios = [0.7, 0.8, 1.1, 1.3]
    tried = [sum(abs(factor * ratio - 1) for ratio in ratios) / 4 for factor in (0.5 + k / 1000 for k in range(1500))]
    assert scatter(ratios) == pytest.approx(min(tried), abs=1e-3)
    assert scatter(ratios) <= min(tried)
    assert scatter([0.5, 0.5]) == 0.0


def test_errors_of_rows():
    errors = errors_of(rows(-0.1, 0.3, 0.05))
    assert (errors.rows, errors.worst.row) == (3, "2")
    assert (errors.mean, errors.median, errors.tail) == pytest.approx((0.15, 0.1, 0.3))
    assert (errors.bias, errors.low, errors.high) == pytest.approx((0.05, -0.1, 0.3))
    assert errors_of([replace(ROW, predicted_s=None)]) is None


def test_no_prediction_of_a_scenario_is_better_than_the_floor():
    same = [replace(ROW, alike="1", measured_s=time) for time in (1.0, 1.2, 2.0)]
    count, least = floor([*same, replace(ROW, alike="2"), ROW])
    tried = [
        sum(abs(guess / row.measured_s - 1) for row in same) / 3 for guess in (0.8 + k / 1000 for k in range(1500))
    ]
    assert count == 3
    assert least == pytest.approx(min(tried), abs=1e-9)
    assert floor([ROW]) is None


def test_regret_and_rank_of_layouts():
    times = [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]
    members = [replace(ROW, layouts="1", measured_s=measured, predicted_s=guess) for measured, guess in times]
    assert regret(members) == 2.0
    assert MEASURES[Measure.RANK_CORRELATION](members) == pytest.approx(-1.0)
    assert MEASURES[Measure.MEAN_REGRET](members[:2]) is None


def test_memory_and_intervals():
    kept = [
        replace(ROW, ran=ran, fits=fits) for ran, fits in ((True, True), (False, True), (None, False), (True, None))
    ]
    assert MEASURES[Measure.MEMORY_SIDE](kept) == 0.5
    inside = [replace(ROW, inside=level) for level in (50, 90, 0, None)]
    assert MEASURES[Measure.INSIDE_50](inside) == pytest.approx(1 / 3)
    assert MEASURES[Measure.INSIDE_90](inside) == pytest.approx(2 / 3)
    assert MEASURES[Measure.MEMORY_ERROR]([replace(ROW, memory_error=error) for error in (-0.3, 0.1, 0.2)]) == 0.2
    assert Target(Measure.INSIDE_90, 0.86, 0.94).met(0.9)
    assert not Target(Measure.INSIDE_90, 0.86, 0.94).met(0.95)


def test_rows_that_say_the_same_are_found():
    pair = [llm(id="a", notes="x"), llm(id="b", notes="x", iter_time_s="2"), llm(id="c", notes="y")]
    assert evidence.repeats(pair) == ["1", "1", ""]
    assert evidence.repeats([*pair, llm(notes="y", iter_time_s="")]) == ["1", "1", "", ""]


def test_rows_on_a_line_in_their_layers_are_found():
    depths = [llm(layers=str(layers), iter_time_s=repr(0.1 + 0.05 * layers)) for layers in (12, 16, 24)]
    assert evidence.lines(depths) == ["1", "1", "1"]
    measured = [*depths[:2], llm(layers="24", iter_time_s="1.302")]
    assert evidence.lines(measured) == ["", "", ""]
    assert evidence.lines(depths[:2]) == ["", ""]


def test_rows_of_one_scenario_are_found():
    three = [run(id=name, batch_per_gpu="32", derived_step_time_s="1", notes=name) for name in "ab"]
    assert evidence.alike([*three, run(batch_per_gpu="64", derived_step_time_s="1")]) == ["1", "1", ""]


def test_what_is_not_stated():
    assert "batch_per_gpu" in evidence.unstated(run())
    assert "batch_per_gpu" not in evidence.unstated(run(batch_per_gpu="32"))
    assert "dtype" in evidence.unstated(run(batch_per_gpu="32", dtype="fp32 (assumed)"))
    told = evidence.unstated(llm(not_in_table="vocab recalled from the paper; recompute from the script"))
    assert "vocab" in told
    assert "hidden" not in told
    assert "inter_link" not in evidence.unstated(llm(num_gpus="8", gpus_per_node="8"))
    assert "inter_link" in evidence.unstated(llm(num_gpus="16", gpus_per_node="8"))


def test_a_group_is_what_its_columns_say():
    assert group_name(llm(model="GPT", num_gpus="8", tp="2", dp="4"), ("model", "num_gpus", "layout")) == (
        "GPT, 8 GPUs, tp2 dp4"
    )
    assert group_name(llm(tp="2"), ("hidden", "tp", "micro_batch")) == "hidden 512, tp 2"
    assert group_name(llm(), ("model",)) == "not stated"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return a folder with one small table, its definitions, and what a replay keeps of it."""
    folder = tmp_path_factory.mktemp("sets")
    (folder / "sets.yaml").write_text(SETS)
    (folder / "classic").mkdir()
    runs = [dict(CELLS, id=f"r{size}", batch_per_gpu=size, derived_step_time_s=time) for size, time in TIMES]
    with (folder / "classic" / "small.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(runs[0]))
        writer.writeheader()
        writer.writerows(runs)
    definitions = read_definitions(folder / "sets.yaml")
    return folder, definitions, replay_tables(find_tables(folder, definitions), definitions, processes=1)


TIMES = (("32", "0.11"), ("64", "0.2"), ("nonsense", "0.1"))


def test_a_folder_of_tables_is_replayed(small):
    folder, definitions, kept = small
    assert [(row.row, row.sets) for row in kept] == [
        ("r32", ("half", "whole")),
        ("r64", ("whole",)),
        ("rnonsense", ("half", "whole")),
    ]
    assert kept[0].group == "V100-SXM2-16GB, ResNet-50, 1 GPU"
    assert kept[0].predicted_s == pytest.approx(0.1, rel=0.5)
    assert kept[2].predicted_s is None
    assert "batch_per_gpu" in kept[2].reason
    again = replay_tables(find_tables(folder, definitions), definitions, processes=1, folder=folder / "kept")
    assert rows_text(again) == rows_text(kept)


def test_a_set_that_misses_is_shown_by_group_with_its_reasons(small):
    _, definitions, kept = small
    sets = [scored(each, kept) for each in definitions.sets]
    assert [each.met for each in sets] == [False, True]
    whole, missed = sections(sets, kept)
    text = repr(missed)
    assert "a: one reason, over two lines" in text
    assert "'a remark on all of it'" in text
    assert missed.title == "Missed: Half of it"
    assert "'missed', '2', '1'" in repr(whole)
    assert "1 measured row without a prediction" in text


def test_reasons_of_groups_that_are_within_the_target_are_not_told(small):
    _, definitions, kept = small
    within = replace(definitions.sets[0], targets=(Target(Measure.MEAN_ERROR, 0.0, 10.0),))
    assert scored(within, kept).off == ()
    assert letters(scored(within, kept)) == {}
    assert list(letters(scored(definitions.sets[0], kept)).values()) == ["a"]


def test_what_was_fitted_to_rows_is_told_with_the_error_without_them(small):
    _, definitions, kept = small
    whole = definitions.sets[1]
    used = replace(whole, fitted=(Fitted("V100", "something was fitted to them"),))
    other = [replace(row, group="another", predicted_s=row.measured_s) for row in kept[:1]]
    told = list(fitted_sentences(scored(used, [*kept, *other])))
    assert len(told) == 1
    assert "something was fitted to them. Without the 2 rows of these groups the mean error is 0.0 %" in told[0]
    assert list(fitted_sentences(scored(whole, kept))) == []


def test_a_folder_that_lacks_a_table_is_refused(tmp_path, small):
    _, definitions, _ = small
    (tmp_path / "smal.csv").write_text("")
    with pytest.raises(DocumentError, match=r"lacks small\.csv.*smal"):
        find_tables(tmp_path, definitions)


def test_a_set_of_no_table_is_refused(tmp_path):
    path = tmp_path / "sets.yaml"
    path.write_text(SETS.replace("table: small", "table: smal"))
    with pytest.raises(DocumentError, match="no table is called 'smal'"):
        read_definitions(path)


def test_the_sets_that_simdml_is_held_to_have_rows():
    definitions, kept = read_definitions(BUNDLED / DEFINITIONS), read_rows(BUNDLED / ROWS)
    assert {row.table for row in kept} == set(definitions.tables)
    keys = {key for row in kept for key in row.sets}
    assert keys == {each.key for each in definitions.sets}
    groups = {(key, row.group) for row in kept for key in row.sets}
    unused = [
        (each.key, reason.groups)
        for each in definitions.sets
        for reason in (*each.reasons, *each.fitted)
        if reason.groups and not any(reason.holds_for(group) for key, group in groups if key == each.key)
    ]
    assert unused == []


def test_every_target_stands_in_the_report():
    definitions = read_definitions(BUNDLED / DEFINITIONS)
    table = sets_sections()[0].blocks[1]
    assert len(table.rows) == sum(len(each.targets) for each in definitions.sets)
    assert all(cells[3] in {"met", "missed"} for cells in table.rows)


def test_the_command_refuses_a_report_that_is_not_there(capsys):
    command = runpy.run_path(str(REPORTS / "regenerate.py"))["run"]
    with pytest.raises(SystemExit) as ended:
        command(["acuracy"])
    assert ended.value.code == 2
    assert "no report is called acuracy" in capsys.readouterr().err
