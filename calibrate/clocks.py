"""The clocks that work on a CPU is timed by."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "process": time.process_time}


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Let the command line choose the clock."""
    parser.add_argument(
        "--clock",
        choices=tuple(CLOCKS),
        default="wall",
        help="process: CPU seconds of this program, which others that share its core do not lengthen; one thread",
    )


def choose(arguments: argparse.Namespace, device: torch.device) -> Clock:
    """Return the clock that was asked for; SystemExit where CPU seconds are not the time that work takes."""
    if arguments.clock == "process" and (device.type != "cpu" or torch.get_num_threads() > 1):
        raise SystemExit("--clock process needs --device cpu --threads 1: CPU seconds are the sum over threads")
    return CLOCKS[arguments.clock]
