"""A thousand different scenarios: every one another model, layout, cluster or size, as a planner would compare them.

``python benchmarks/sweep_scenarios.py > thousand.yaml`` and ``simdml sweep thousand.yaml --jobs 2 --out results``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

NUM_SCENARIOS, SEED = 1000, 20261125
BYTES_A_PARAMETER = 18
"""fp16 or bf16 weights and gradients, fp32 master weights and two Adam moments, and room for buckets."""
MEMORY_SHARE = 0.6
"""Of device memory for parameters; activations, recomputed in full, and the context need the rest."""


@dataclass(frozen=True)
class Transformer:
    name: str
    parameters: float
    layers: int
    kv_heads: int


@dataclass(frozen=True)
class Box:
    name: str
    gpus: int
    memory_gb: int
    half: str
    most_nodes: int


TRANSFORMERS = (
    Transformer("gpt2_medium", 0.35e9, 24, 16),
    Transformer("gpt2_large", 0.77e9, 36, 20),
    Transformer("gpt_1_7b", 1.7e9, 24, 24),
    Transformer("gpt_7_5b", 7.5e9, 36, 32),
    Transformer("gpt_18b", 18e9, 40, 48),
    Transformer("gpt_39b", 39e9, 48, 64),
    Transformer("gpt3_175b", 175e9, 96, 96),
    Transformer("llama2_7b", 6.7e9, 32, 32),
    Transformer("llama2_13b", 13e9, 40, 40),
    Transformer("llama3_8b", 8e9, 32, 8),
    Transformer("llama3_70b", 70e9, 80, 8),
)
IMAGES = {"alexnet": (128, 256, 512), "vgg16": (32, 64), "resnet50": (32, 64, 128), "resnet152": (16, 32, 64)}
IMAGES["inception_v3"] = (32, 64)
BOXES = (
    Box("dgx1_v100", 8, 16, "fp16", 8),
    Box("dgx2_v100", 16, 32, "fp16", 8),
    Box("p3dn_24xlarge", 8, 32, "fp16", 16),
    Box("dgx_a100_40gb", 8, 40, "fp16", 32),
    Box("dgx_a100", 8, 80, "bf16", 64),
    Box("p4d_24xlarge", 8, 40, "bf16", 32),
    Box("dgx_h100", 8, 80, "bf16", 64),
    Box("dgx_h200", 8, 141, "bf16", 64),
    Box("p5_48xlarge", 8, 80, "bf16", 32),
    Box("pcie_8gpu_25gbe", 8, 16, "fp16", 16),
)
NODES = (1, 2, 4, 8, 16, 32, 64)


def scenarios() -> list[dict[str, Any]]:
    """Return the thousand, the same ones every time: seven in ten train transformers."""
    draw = random.Random(SEED)
    share = NUM_SCENARIOS * 7 // 10
    chosen = [*draw.sample(list(_transformers()), share), *draw.sample(list(_images()), NUM_SCENARIOS - share)]
    draw.shuffle(chosen)
    return chosen


def _transformers() -> Iterator[dict[str, Any]]:
    for model, box, nodes in product(TRANSFORMERS, BOXES, NODES):
        for tp, pp in product((1, 2, 4, 8), (1, 2, 4, 8, 16)):
            gpus = nodes * box.gpus
            state = BYTES_A_PARAMETER * model.parameters / (tp * pp)
            splits = model.kv_heads % tp == 0 and model.layers % pp == 0 and gpus % (tp * pp) == 0
            if nodes <= box.most_nodes and splits and state < MEMORY_SHARE * box.memory_gb * 1e9:
                yield from _trained(model, box, nodes, tp, pp)


def _trained(model: Transformer, box: Box, nodes: int, tp: int, pp: int) -> Iterator[dict[str, Any]]:
    dp = nodes * box.gpus // (tp * pp)
    for accumulated, chunks in product((8, 16, 32), (1, 2)):
        if chunks > 1 and (pp == 1 or model.layers % (pp * chunks)):
            continue
        pipeline = {"schedule": "interleaved_1f1b", "chunks": chunks} if chunks > 1 else {"schedule": "1f1b"}
        strategy: dict[str, Any] = {"mesh": {"tp": tp, "pp": pp}} | ({"pipeline": pipeline} if pp > 1 else {})
        yield {
            "cluster": {"name": box.name, "nodes": nodes},
            "model": model.name,
            "training": {
                "global_batch": dp * accumulated,
                "microbatch": 1,
                "sequence": 1024 if model.name.startswith("gpt2") else 2048,
                "precision": box.half,
                "recompute": "full",
            },
            "strategy": strategy,
        }


def _images() -> Iterator[dict[str, Any]]:
    for (model, batches), box, nodes in product(IMAGES.items(), BOXES, NODES[:5]):
        for batch, precision in product(batches, ("fp32", "fp16")):
            if nodes <= box.most_nodes:
                yield {
                    "cluster": {"name": box.name, "nodes": nodes},
                    "model": model,
                    "training": {"batch_per_gpu": batch, "precision": precision},
                    "strategy": "ddp",
                }


if __name__ == "__main__":
    # A scenario file needs a job to start from: the first; every point replaces all of it.
    every = scenarios()
    print(json.dumps({**every[0], "vary": {"list": every}}, indent=1))
