"""Runs the measurement programs as a user does, and checks the files they leave."""

import json
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "calibrate"

READING_FIELDS = {"case", "seconds", "spread", "half_width", "drift", "minimum_s", "repeats", "noisy", "run"}
ENVIRONMENT_FIELDS = {
    *("device", "device_type", "driver", "cuda", "cudnn", "nccl", "torch", "python", "cpu", "cpu_count", "threads"),
    *("settings", "kernel"),
}


def command(program, *words):
    return [sys.executable, str(FOLDER / f"{program}.py"), *map(str, words)]


def run_program(program, *words, status=0):
    """Return the finished process of a quick run on one thread of the CPU."""
    settings = {name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK")}
    common = ("--device", "cpu", "--quick", "--threads", 1, "--seconds-per-case", 0.02)
    done = subprocess.run(
        command(program, *common, *words), capture_output=True, text=True, timeout=120, env=settings, check=False
    )
    assert done.returncode == status, done.stderr[-2000:]
    return done


def readings(path):
    """Return the document at ``path`` after checking what every program promises of it."""
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["format"] == "simdml-readings-1"
    assert document["program"]
    assert set(document["environment"]) >= ENVIRONMENT_FIELDS
    assert all({"date", "command_line", "clocks_before", "clocks_after"} <= set(run) for run in document["runs"])
    for entry in document["cases"]:
        assert set(entry) >= READING_FIELDS, entry
        assert {"family", "op"} <= set(entry["case"])
        assert 0 < entry["minimum_s"] <= entry["seconds"] < 60
        assert entry["repeats"] >= 1
        assert isinstance(entry["noisy"], bool)
        assert 0 <= entry["run"] < len(document["runs"])
    assert all({"case", "reason"} <= set(entry) for entry in document["skipped"])
    return document
