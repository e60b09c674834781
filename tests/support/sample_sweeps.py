"""Small sweeps for tests: points of a few milliseconds."""

from __future__ import annotations

JOB = {
    "cluster": {"name": "dgx1_v100", "nodes": 1},
    "model": "alexnet",
    "training": {"batch_per_gpu": 32, "precision": "fp16"},
}
GRID = {"cluster.nodes": [1, 2], "training.batch_per_gpu": "32 .. 128 step 32", "training.precision": ["fp32", "fp16"]}
