"""One case in a process of its own: ``python benchmarks/one_case.py KEY`` prints what it took as JSON.

Imports are done before the clock starts. The first time is that of a process that has done nothing before; the median
is that of up to five more, where models, programs and NCCL's choices are remembered.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from statistics import median
from typing import Any

from cases import CASES, Case, measured, resnet50

ROUNDS, ENOUGH_S = 5, 15.0
"""Times a case is repeated, but none begins after so many seconds."""


def measure(case: Case) -> dict[str, Any]:
    """Return seconds, peak memory and counts of ``case``."""
    began = time.perf_counter()
    seconds: list[float] = []
    while len(seconds) <= ROUNDS and (time.perf_counter() - began < ENOUGH_S or not seconds):
        gc.collect()
        start = time.perf_counter()
        recording = measured(case)
        seconds.append(time.perf_counter() - start)
        execution = recording.execution
        counts = {
            "classes": execution.partition.num_classes,
            "events": execution.env.num_scheduled,
            "solves": execution.network.solves,
        }
        del recording, execution
    first, *others = seconds
    return {
        "first_s": first,
        "median_s": median(others or seconds),
        "rounds": len(others),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    } | counts


def load_modules() -> None:
    """Import what cases need, by simulating a small job that shares nothing with them but code."""
    small = resnet50() | {"model": "alexnet", "cluster": "p2_8xlarge"}
    small["training"] = {"batch_per_gpu": 1}
    measured(Case("small", "small", 1.0, small))


if __name__ == "__main__":
    wanted = next(case for case in CASES if case.key == sys.argv[1])
    load_modules()
    print(json.dumps(measure(wanted)))
