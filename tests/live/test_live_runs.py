"""Real jobs on this machine against their predictions: one of each family, and what the command prints."""

import json
import time

import pytest
from click.testing import CliRunner

from simdml.cli import testbed as testbed_command
from simdml.cli.validate import command, parse_rate
from simdml.errors import InfeasibleError, UnitError
from simdml.validation.live import hosts
from simdml.validation.live.jobs import LiveJob, LiveLayer
from simdml.validation.live.launcher import Launcher
from simdml.validation.live.selection import quick_jobs, standard_jobs
from simdml.validation.live.study import SHAPED, Setting, choose_setting, to_dict, validate_live
from simdml.validation.live.table import COLUMNS, cells, summary

pytest.importorskip("torch")
ENDLESS = LiveJob("ddp", 1, 400e6, (LiveLayer((10,), 60.0, 60.0),))
LARGEST_ERROR = 0.20
"""Twice what the jobs show on a quiet machine: tests share their cores with whatever else runs."""
ATTEMPTS = 4
"""A job whose ranks wait for a busy machine's cores is run again."""


def on_this_testbed(jobs):
    setting = Setting(hosts.namespaces, True, "gloo", SHAPED, hosts.MOST_HOSTS)
    return validate_live(jobs, setting, quick=True)


@pytest.fixture(scope="module")
def validation():
    if reason := hosts.why_not():
        pytest.skip(f"no testbed here: {reason}")
    return on_this_testbed(quick_jobs())


def test_one_job_of_each_family_takes_what_was_predicted(validation):
    errors = {row.job.strategy: [row.error] for row in validation.rows}
    assert set(errors) == {"ddp", "gpipe", "ps_sync"}
    for row in validation.rows:
        found = errors[row.job.strategy]
        while min(map(abs, found)) > LARGEST_ERROR and len(found) < ATTEMPTS:
            found.append(on_this_testbed([row.job]).rows[0].error)
    assert all(min(map(abs, found)) < LARGEST_ERROR for found in errors.values()), errors


def test_result_says_what_was_emulated_and_how_links_were_shaped(validation):
    notes = " ".join(validation.notes)
    assert "emulated compute (layers sleep), real communication" in notes
    assert "125 kB at 400 Mb/s" in notes
    assert "none of these runs" in notes
    assert len(cells(validation.rows[0])) == len(COLUMNS)
    assert "median absolute error" in " ".join(summary(validation))
    read = json.loads(json.dumps(to_dict(validation)))
    assert [run["job"] for run in read["runs"]] == [row.job.title for row in validation.rows]
    assert read["worst_absolute_error"] == max(abs(run["error"]) for run in read["runs"])


def test_figure_is_drawn(validation, tmp_path):
    from simdml.validation.live.figure import save_live_figure

    save_live_figure(validation, tmp_path / "live.png")
    assert (tmp_path / "live.png").stat().st_size > 10_000


def test_failing_rank_is_reported_and_its_hosts_are_free_again():
    with hosts.loopback(2) as testbed:
        launcher = Launcher(testbed)
        with pytest.raises(InfeasibleError, match=r"rank [01] failed: \w+"):
            launcher.run("benchmarks.no_such_program", 2, None)
        assert launcher.run("benchmarks.machine", 1, None)[0]["cores"] >= 1


def test_rank_that_does_not_end_is_ended():
    with hosts.loopback(1) as testbed:
        began = time.monotonic()
        with pytest.raises(InfeasibleError, match="did not end within 1 s"):
            Launcher(testbed).run("data_parallel.train", 1, (ENDLESS, 5), 1.0)
        assert time.monotonic() - began < 30


def test_without_root_jobs_run_over_loopback_and_it_is_said(monkeypatch):
    monkeypatch.setattr("simdml.validation.live.study.why_not", lambda: "not root")
    setting = choose_setting()
    if setting.backend == "nccl":
        pytest.skip("this machine has several GPUs")
    assert not setting.shaped
    assert "loopback" in setting.name
    found = validate_live(quick_jobs()[:1], setting, quick=True)
    assert len(found.rows) == 1
    assert "no network namespaces: not root" in found.notes[0]
    assert cells(found.rows[0])[COLUMNS.index("links")] == "unshaped"
    assert to_dict(found)["runs"][0]["rate_bits_per_s"] is None
    wide = [job for job in standard_jobs() if job.hosts > setting.most_hosts]
    if wide:
        with pytest.raises(InfeasibleError, match="none of these jobs"):
            validate_live(wide, setting, quick=True)


def test_rates_are_read_as_tc_and_people_write_them():
    assert parse_rate("400mbit") == parse_rate("400 Mbps") == parse_rate("0.4 Gb/s") == pytest.approx(400e6)
    with pytest.raises(UnitError):
        parse_rate("400")


def test_commands_explain_themselves():
    shown = CliRunner().invoke(command, ["live", "--help"])
    assert shown.exit_code == 0
    assert "--strategy" in shown.output
    assert {"check", "sweep", "exec"} == set(testbed_command.command.commands)
