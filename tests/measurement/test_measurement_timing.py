"""How often a case is repeated, what is called noisy, and the file that readings are kept in."""

import argparse
import itertools
import json
import random
import signal
import statistics
import subprocess
import sys
import time

import clocks
import machine
import measuring
import pytest
import torch
from measurement_programs import FOLDER
from measuring import Journal, Missing, Stopping

CPU = torch.device("cpu")
GENEROUS = Stopping(seconds=60.0)


def sampler(values):
    return lambda count: list(itertools.islice(values, count))


def noise(sigma, seed=1):
    draw = random.Random(seed)
    while True:
        yield max(draw.gauss(1e-3, sigma * 1e-3), 1e-6)


def test_steady_timer_stops_early_and_is_not_noisy():
    reading = measuring.measure(sampler(noise(0.005)), GENEROUS)
    assert not reading.noisy
    assert reading.repeats < 40
    assert reading.seconds == pytest.approx(1e-3, rel=0.01)


def test_noisy_timer_is_repeated_to_the_cap_and_named():
    reading = measuring.measure(sampler(noise(0.5)), Stopping(most=60, seconds=60.0))
    assert reading.noisy
    assert reading.repeats >= 60
    assert reading.half_width > 0.02


def test_more_repeats_narrow_moderate_noise():
    reading = measuring.measure(sampler(noise(0.06)), GENEROUS)
    assert not reading.noisy
    assert 30 <= reading.repeats < 400


def test_two_humps_are_noisy_though_most_samples_agree():
    reading = measuring.summary([1.0, 1.0, 1.5, 1.0, 1.5] * 4)
    assert reading.spread == 0.0
    assert reading.noisy


def test_drift_is_noisy_though_the_interval_is_narrow():
    reading = measuring.summary([1.0] * 30 + [1.1] * 29)
    assert reading.drift == pytest.approx(0.1)
    assert reading.noisy


def test_few_samples_are_never_steady():
    assert measuring.summary([1.0] * 5).noisy
    assert not measuring.summary([1.0] * 6).noisy


def test_slow_work_gets_six_samples_or_overtime():
    assert measuring.measure(sampler(itertools.repeat(0.1)), Stopping(seconds=0.1), shared_calls=1).repeats == 4
    assert measuring.measure(sampler(itertools.repeat(0.05)), Stopping(seconds=0.1), shared_calls=1).repeats == 6


def test_half_width_is_the_normal_theory_one_for_normal_noise():
    values = [statistics.NormalDist(1.0, 0.1).inv_cdf((i + 0.5) / 1001) for i in range(1001)]
    assert measuring.half_width(values) == pytest.approx(1.96 * 1.2533 * 0.1 / 1001**0.5, rel=0.05)


def test_half_width_covers_the_median_about_as_often_as_it_says():
    draw = random.Random(7)
    hits = 0
    for _ in range(300):
        values = [draw.lognormvariate(0.0, 0.3) for _ in range(25)]
        hits += abs(statistics.median(values) - 1.0) <= measuring.half_width(values) * statistics.median(values)
    assert 0.9 <= hits / 300 <= 1.0


def test_event_timer_reports_device_time(monkeypatch):
    clock = [0.0]

    class Event:
        def __init__(self, enable_timing):
            self.at = None

        def record(self):
            self.at = clock[0]

        def elapsed_time(self, other):
            return (other.at - self.at) * 1e3

    class Cuda:
        slept = 0

        def _sleep(self, cycles):
            self.slept += cycles
            clock[0] += 1.0

    cuda = Cuda()
    cuda.Event = Event
    monkeypatch.setattr(measuring, "cuda", cuda)
    monkeypatch.setattr(measuring, "synchronize", lambda device: None)
    monkeypatch.setattr(machine, "cache_flush", lambda device: lambda: clock.__setitem__(0, clock[0] + 0.5))
    monkeypatch.setattr(machine, "device_cycles_per_s", lambda device: 1e9)
    timer = measuring.EventTimer(torch.device("cuda"))
    samples = timer(lambda: clock.__setitem__(0, clock[0] + 0.25))(4)
    assert samples == pytest.approx([0.25] * 4)
    assert cuda.slept > 0


def a_case(number):
    return {"family": "test", "op": "nothing", "rows": number}


def journal_at(path, **more):
    return Journal(path, "test", machine.environment(CPU), **more)


def arguments(minutes=None):
    return argparse.Namespace(minutes=minutes)


def reading(_case=None):
    return measuring.reading_entry(measuring.summary([1e-3] * 10))


def test_finished_cases_are_not_repeated(tmp_path):
    path, measured = tmp_path / "a" / "t.json", []

    def measure(case):
        measured.append(case["rows"])
        if len(measured) == 4:
            raise KeyboardInterrupt
        return reading()

    with pytest.raises(KeyboardInterrupt):
        measuring.run_cases(journal_at(path), [a_case(n) for n in range(6)], measure, arguments())
    assert json.loads(path.read_text())["complete"] is False
    measuring.run_cases(journal_at(path), [a_case(n) for n in range(6)], measure, arguments())
    assert measured == [0, 1, 2, 3, 3, 4, 5]
    document = json.loads(path.read_text())
    assert document["complete"] is True
    assert [entry["run"] for entry in document["cases"]] == [0, 0, 0, 1, 1, 1]
    assert len(document["runs"]) == 2


def test_what_cannot_run_is_named_and_the_rest_measured(tmp_path):
    def measure(case):
        if case["rows"] == 1:
            raise Missing("fp9: nobody has it")
        return reading()

    measuring.run_cases(journal_at(tmp_path / "t.json"), [a_case(n) for n in range(3)], measure, arguments())
    document = json.loads((tmp_path / "t.json").read_text())
    assert [entry["case"]["rows"] for entry in document["cases"]] == [0, 2]
    assert "fp9" in document["skipped"][0]["reason"]


def test_time_that_is_up_leaves_the_rest(tmp_path):
    def measure(case):
        time.sleep(0.2)
        return reading()

    measuring.run_cases(journal_at(tmp_path / "t.json"), [a_case(n) for n in range(50)], measure, arguments(0.02))
    document = json.loads((tmp_path / "t.json").read_text())
    assert 1 <= len(document["cases"]) <= 6
    assert document["complete"] is False


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["environment"].__setitem__("device", "another"), "device 'another'"),
        (lambda d: d.__setitem__("program", "other"), "no file of test.py"),
        (lambda d: d.__setitem__("program_version", "0"), "no file of test.py"),
        (lambda d: d.__setitem__("format", "x"), "no file of test.py"),
    ],
)
def test_foreign_file_is_refused(tmp_path, change, words):
    path = tmp_path / "t.json"
    journal_at(path).save()
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(SystemExit, match=words):
        journal_at(path)
    journal_at(path, fresh=True)


def test_unreadable_file_is_refused(tmp_path):
    (tmp_path / "t.json").write_text("{")
    with pytest.raises(SystemExit, match="cannot be read"):
        journal_at(tmp_path / "t.json")


WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import machine, measuring, torch
torch.set_num_threads(1)
path = Path(sys.argv[2])
journal = measuring.Journal(path, "test", machine.environment(torch.device("cpu")))
entry = measuring.reading_entry(measuring.summary([1e-3] * 10))
for number in range(len(journal.entries), 100_000):
    journal.add({"family": "test", "op": "nothing", "rows": number}, entry)
    journal.save()
"""


def test_kill_at_any_moment_leaves_a_whole_file(tmp_path):
    path, draw, counts = tmp_path / "t.json", random.Random(3), [0]
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(FOLDER), str(path)])
        begin, before = time.monotonic(), path.stat().st_mtime_ns if path.exists() else 0
        while not path.exists() or path.stat().st_mtime_ns == before:
            assert child.poll() is None
            assert time.monotonic() - begin < 60
            time.sleep(0.01)
        time.sleep(draw.uniform(0.05, 0.4))
        child.send_signal(signal.SIGKILL)
        child.wait()
        document = json.loads(path.read_text(encoding="utf-8"))
        assert [entry["case"]["rows"] for entry in document["cases"]] == list(range(len(document["cases"])))
        assert len(document["cases"]) > counts[-1]
        counts.append(len(document["cases"]))
    assert len(document["runs"]) == 2


def arguments_of(clock):
    return argparse.Namespace(clock=clock)


def test_process_clock_counts_work_and_not_waiting(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    timer = measuring.HostTimer(CPU, clock=clocks.choose(arguments_of("process"), CPU))
    (waited,) = timer(lambda: time.sleep(0.05))(1)
    assert waited < 0.02
    (waited,) = measuring.HostTimer(CPU, clock=clocks.choose(arguments_of("wall"), CPU))(lambda: time.sleep(0.05))(1)
    assert waited >= 0.05


def test_process_clock_is_refused_where_it_is_not_the_time_that_work_takes(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    for device in (CPU, torch.device("cuda")):
        with pytest.raises(SystemExit, match="--threads 1"):
            clocks.choose(arguments_of("process"), device)
