"""Runs the programs that measure a device in turn, within a time: what to do with a GPU that one has for a while.

    python all.py --out readings --minutes 9

Each program writes (or continues) its file in the folder; run it again to measure what did not fit. A program that
fails or hangs is ended and named, and the next one runs. With several GPUs collectives and overlap run on all of
them; with one, collectives run as two ranks on it over sockets.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import measuring
import torch

HERE = Path(__file__).resolve().parent
# Shares of the time; what a program leaves is shared by the ones after it.
SHARES = {"compute": 0.38, "training": 0.36, "memory": 0.06, "overlap": 0.08, "collectives": 0.12}
START_S, GRACE_S = 12.0, 10.0
SHARED_GPU_LARGEST_BYTES = 64 * 2**20


def main() -> None:
    """Run the programs that the command line asks for; the exit status counts those that failed."""
    parser = argparse.ArgumentParser(
        prog="all.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("readings"), help="the folder for the files")
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything together")
    parser.add_argument("--device", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="a small set of each")
    parser.add_argument("--programs", default=",".join(SHARES), help="which, separated by commas")
    arguments = parser.parse_args()
    measuring.stop_politely()
    deadline = time.monotonic() + 60 * arguments.minutes
    names = [name for name in SHARES if name in arguments.programs.split(",")]
    outcomes = {}
    for index, name in enumerate(names):
        seconds = share(names[index:], deadline - time.monotonic())
        outcomes[name] = run(name, command(name, arguments, seconds), seconds, deadline - time.monotonic())
    for name, outcome in outcomes.items():
        print(f"{name}: {outcome}", file=sys.stderr)
    raise SystemExit(sum(outcome != "done" for outcome in outcomes.values()))


def share(names: list[str], left_s: float) -> float:
    """Return the seconds that the first of ``names`` may measure, when ``left_s`` are left for all of them."""
    part = SHARES[names[0]] / sum(SHARES[name] for name in names)
    return max(part * (left_s - START_S * len(names)), 1.0)


def command(name: str, arguments: argparse.Namespace, seconds: float) -> list[str]:
    """Return the command line of one program."""
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    count = torch.cuda.device_count() if device == "cuda" else 0
    words = [sys.executable, str(HERE / f"{name}.py"), "--device", device, "--minutes", f"{seconds / 60:.3f}"]
    words += ["--out", str(arguments.out)]
    if arguments.quick:
        words.append("--quick")
    if name in ("collectives", "overlap") and count > 1:
        words += ["--nproc", str(count)]
    elif name == "collectives":
        words += ["--nproc", "2"]
        if count == 1:
            words += ["--share-gpu", "--largest", str(SHARED_GPU_LARGEST_BYTES), "--factor", "4", "--timeout", "40"]
    return words


def run(name: str, words: list[str], seconds: float, left_s: float) -> str:
    """Run one program for at most ``seconds`` and what starting takes; return ``done`` or what went wrong."""
    print(f"all: {name} for {seconds:.0f} s", file=sys.stderr, flush=True)
    limit_s = max(min(seconds + START_S + GRACE_S, left_s), 1.0)
    with subprocess.Popen(words, start_new_session=True) as child:
        try:
            status = child.wait(limit_s)
        except subprocess.TimeoutExpired:
            end(child)
            return f"ended after {limit_s:.0f} s; its file holds what it had measured"
        except BaseException:
            end(child)
            raise
    return "done" if status == 0 else f"failed with status {status}"


def end(child: subprocess.Popen[bytes]) -> None:
    """End a program and the ranks it started: politely, so that it saves, then at once."""
    os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
