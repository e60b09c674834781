"""The measurement programs run on the CPU of this machine, in subprocesses, as a user runs them."""

import argparse
import itertools
import signal
import subprocess
import time

import all as everything
import collectives
import measuring
import overlap
import pytest
import ranks
import torch
from measurement_programs import command, readings, run_program

FORMULAS = {
    "all_reduce": lambda n: 2 * (n - 1) / n,
    "all_gather": lambda n: (n - 1) / n,
    "reduce_scatter": lambda n: (n - 1) / n,
    "all_to_all": lambda n: (n - 1) / n,
    "broadcast": lambda n: 1,
    "send_recv": lambda n: 1,
    "ping_pong": lambda n: 1,
}


def test_compute_killed_goes_on_where_it_was(tmp_path):
    path = tmp_path / "c.json"
    words = ("--device", "cpu", "--quick", "--threads", 1, "--seconds-per-case", 0.3, "--out", path)
    child = subprocess.Popen(command("compute", *words), stderr=subprocess.DEVNULL)
    begin = time.monotonic()
    while not path.exists():
        assert child.poll() is None
        assert time.monotonic() - begin < 60
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    before = readings(path)["cases"]
    assert 0 < len(before) < 57
    again = run_program("compute", "--out", path, "--limit", len(before) + 2)
    document = readings(path)
    after = document["cases"]
    assert "2/2" in again.stderr
    assert after[: len(before)] == before
    assert [entry["run"] for entry in after] == [0] * len(before) + [1, 1]
    assert document["complete"]
    assert "CUDA" in {entry["what"] for entry in document["missing"]}
    assert document["runs"][1]["command_line"][-2] == "--limit"


def test_polite_stop_saves_what_was_measured(tmp_path):
    path = tmp_path / "c.json"
    words = ("--device", "cpu", "--quick", "--threads", 1, "--seconds-per-case", 0.2, "--out", path)
    child = subprocess.Popen(command("compute", *words), stderr=subprocess.PIPE, text=True)
    lines = iter(child.stderr.readline, "")
    for line in itertools.takewhile(lambda line: "2/57" not in line, lines):
        assert "Traceback" not in line
    child.terminate()
    assert child.wait(30) == 128 + signal.SIGTERM
    child.stderr.close()
    assert len(readings(path)["cases"]) >= 2


def test_training_of_tiny_networks(tmp_path):
    run_program("training", "--out", tmp_path, "--only", "gpt2_tiny recompute", "--only", "resnet_tiny")
    cases = readings(tmp_path / "cpu_training.json")["cases"]
    assert {(e["case"]["model"], e["case"]["variant"]) for e in cases} == {
        ("gpt2_tiny", "recompute"),
        ("resnet_tiny", "plain"),
    }
    for entry in cases:
        assert set(entry["phases_s"]) == {"forward", "backward", "update"}
        assert all(seconds > 0 for seconds in entry["phases_s"].values())
        assert {"optimizer", "loss"} <= set(entry["family_s"])
        assert ("convolution" if entry["case"]["model"] == "resnet_tiny" else "matmul") in entry["family_s"]
        assert entry["memory"].get("peak_resident_bytes", 1e9) > 50e6
        assert entry["samples_per_s"] == pytest.approx(entry["case"]["batch"] / entry["seconds"])


def test_overlap_with_a_copy(tmp_path):
    run_program("overlap", "--out", tmp_path)
    cases = readings(tmp_path / "cpu_overlap.json")["cases"]
    assert {entry["case"]["op"] for entry in cases} == {"matmul beside device_copy", "device_copy beside matmul"}
    for entry in cases:
        assert entry["slowdown"] == pytest.approx(entry["seconds"] / entry["alone_seconds"])
        assert isinstance(entry["covered"], bool)


def test_overlap_of_two_ranks_with_a_collective(tmp_path):
    run_program("overlap", "--out", tmp_path, "--nproc", 2, "--limit", 1)
    (entry,) = readings(tmp_path / "cpu_overlap.json")["cases"]
    assert (entry["case"]["op"], entry["case"]["ranks"]) == ("matmul beside all_reduce", 2)
    assert entry["background_alone_seconds"] > 0


def test_collectives_of_two_ranks_over_gloo(tmp_path):
    done = run_program("collectives", "--out", tmp_path, "--nproc", 2, "--largest", 2**16)
    cases = readings(tmp_path / "cpu_collectives.json")["cases"]
    assert {entry["case"]["op"] for entry in cases} == set(FORMULAS)
    for entry in cases:
        case = entry["case"]
        assert (case["ranks"], case["nodes"], case["backend"]) == (2, 1, "gloo")
        assert entry["bus_bytes_per_s"] == pytest.approx(
            case["bytes"] / entry["seconds"] * FORMULAS[case["op"]](case["ranks"])
        )
    rows = [line.split() for line in done.stdout.splitlines() if line and not line.startswith("#")]
    assert len(rows) == len(cases)
    for row, entry in zip(rows, cases, strict=True):
        assert int(row[0]) == entry["case"]["bytes"]
        assert float(row[5]) == pytest.approx(entry["seconds"] * 1e6, rel=0.01, abs=0.01)


def test_collectives_without_ranks_say_how_to_start_them(monkeypatch):
    for name in ("RANK", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit, match="torchrun"):
        ranks.join(argparse.Namespace())


def test_everything_runs_in_turn_within_its_time(tmp_path):
    words = ("--out", tmp_path, "--device", "cpu", "--quick", "--programs", "memory", "--minutes", 0.6)
    begin = time.monotonic()
    done = subprocess.run(command("all", *words), capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert time.monotonic() - begin < 60
    assert "memory: done" in done.stderr
    cases = readings(tmp_path / "cpu_memory.json")["cases"]
    copies = [entry for entry in cases if entry["case"]["op"] == "device_copy"]
    for entry in copies:
        assert entry["bytes_per_s"] == pytest.approx(entry["case"]["bytes"] / entry["seconds"])
    assert copies[-1]["seconds"] > 10 * copies[0]["seconds"]
    (context,) = [entry for entry in cases if entry["case"]["family"] == "context"]
    assert context["host_bytes_after_import"] > 50e6


def test_a_program_that_hangs_is_ended_and_named(monkeypatch):
    monkeypatch.setattr(everything, "START_S", 0.5)
    monkeypatch.setattr(everything, "GRACE_S", 0.5)
    begin = time.monotonic()
    assert "ended after" in everything.run("sleeper", ["sleep", "60"], 0.1, 60.0)
    assert time.monotonic() - begin < 10
    assert everything.run("false", ["false"], 5.0, 60.0) == "failed with status 1"


def test_shares_fill_the_time():
    names = list(everything.SHARES)
    left, total = 540.0, 0.0
    for index in range(len(names)):
        seconds = everything.share(names[index:], left)
        left -= seconds + everything.START_S
        total += seconds
    assert total == pytest.approx(540 - 5 * everything.START_S)


@pytest.mark.parametrize("op", sorted(FORMULAS))
@pytest.mark.parametrize("size", [2, 3, 8, 64])
def test_bus_bandwidth_factors(op, size):
    assert collectives.bus_factor(op, size) == pytest.approx(FORMULAS[op](size))


def test_a_ranks_part_is_rounded_down_to_sixteen_bytes():
    assert collectives.actual_bytes("all_gather", 1000, 3, 4) == 960
    assert collectives.actual_bytes("all_to_all", 8, 2, 4) == 0
    assert collectives.actual_bytes("all_reduce", 1002, 3, 4) == 1000


def test_table_row_reads_as_nccl_tests_does():
    case = {"op": "all_gather", "bytes": 2**20, "ranks": 8, "dtype": "fp32"}
    row = collectives.table_row(case, 100e-6).split()
    assert row == ["1048576", "32768", "float", "none", "-1", "100.00", "10.49", "9.18", "N/A"]


def test_sizes_span_eight_bytes_to_a_gibibyte():
    arguments = argparse.Namespace(
        largest=2**30, factor=2, quick=False, dtype="fp32", ops="all_reduce", share_gpu=False
    )
    sizes = [case["bytes"] for case in collectives.all_cases(arguments, 8, 1, "nccl")]
    assert sizes == [2**power for power in range(3, 31)]


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu[03-06,9],login1", "gpu03"), ("node7", "node7"), ("a1,b2", "a1"), ("n[1-2]-ib", "n1-ib")],
)
def test_first_host_of_a_slurm_list(nodes, first):
    assert ranks.first_host(nodes) == first


def test_place_under_slurm(monkeypatch):
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    settings = {"PROCID": 9, "NTASKS": 16, "LOCALID": 1, "NNODES": 2, "STEP_NODELIST": "g[1-2]", "JOB_ID": 5}
    for name, value in settings.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    assert ranks.place() == (9, 16, 1, 2, "g1", 20005)


def test_sides_on_streams_begin_together_when_the_gate_opens(monkeypatch):
    log = []

    class Event:
        def __init__(self, enable_timing=False):
            pass

        def record(self):
            log.append("record")

        def synchronize(self):
            log.append("wait")

        def elapsed_time(self, other):
            return 8.0

    class Stream:
        def wait_event(self, event):
            log.append("gate")

    class Context:
        def __init__(self, stream):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(overlap.cuda, "Event", Event)
    monkeypatch.setattr(overlap.cuda, "stream", Context)
    side = overlap.Side(lambda: log.append("work"), Stream())
    assert side.chain(2, Event()) == pytest.approx(8e-3)
    assert log == ["gate", "record", "work", "work", "record", "wait"]


def test_cuda_asked_for_but_missing_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="no CUDA device"):
        measuring.choose_device("cuda")


def test_host_time_of_layers(tmp_path):
    path = tmp_path / "h.json"
    run_program("host", "--only", "megatron", "--only", "call", "--clock", "process", "--out", path)
    cases = readings(path)["cases"]
    assert len(cases) == 10
    found = {(c["case"]["phase"], c["case"]["checkpointed"]): c for c in cases if c["case"]["op"] == "megatron"}
    assert found["backward", True]["kernels"] == pytest.approx(
        found["backward", False]["kernels"] + found["forward", False]["kernels"]
    )
    assert 15 < found["forward", False]["kernels"] < 20
