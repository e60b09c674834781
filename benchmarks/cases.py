"""The jobs whose cost is promised: scenarios, and how long each may take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simdml.engine.simulator import Recording

Scenario = dict[str, Any]
LLAMA3_GPUS = 16_384


@dataclass(frozen=True, slots=True)
class Case:
    """A job of the table: a ``key`` to ask for it, its ``name`` there, and the seconds it may take at most.

    Its ``scenario`` is a mapping or the name of a bundled one. One that is not ``coarsened`` has an event for every
    kernel.
    """

    key: str
    name: str
    at_most_s: float
    scenario: Mapping[str, Any] | str = field(repr=False)
    coarsened: bool = True


def measured(case: Case) -> Recording:
    """Return the recording of ``case``: read, build, compile, fold and simulate, without analysing or printing."""
    # simdml is loaded here, so that whoever only wants to know the cases stays small.
    from simdml.engine.simulator import simulate
    from simdml.scenario.building import build
    from simdml.scenario.faults import build_conditions
    from simdml.scenario.loading import load_scenario

    scenario = load_scenario(case.scenario)
    built = build(scenario)
    return simulate(
        built.program(),
        built.job.cluster,
        built.costs,
        build_conditions(scenario, built.job.cluster),
        steps=scenario.spec.simulate.steps,
        folded=scenario.spec.simulate.fold,
        coarsened=case.coarsened,
    )


def resnet50(*, fold: bool = True, jitter_cv: float = 0.0, steps: int | None = None) -> Scenario:
    """ResNet-50 with DistributedDataParallel on the eight V100 of a DGX-1."""
    return {
        "cluster": "dgx1_v100",
        "model": "resnet50",
        "training": {"batch_per_gpu": 256, "precision": "fp16"},
        "strategy": "ddp",
        "faults": [{"jitter": "lognormal", "cv": jitter_cv}] if jitter_cv else [],
        "simulate": {"fold": fold} | ({"steps": steps} if steps else {}),
    }


def gpt3() -> Scenario:
    """GPT-3 175B on 1,024 A100 as Megatron-LM trains it, interleaved: 96 micro-batches on each of 16 replicas."""
    return {
        "cluster": {"name": "dgx_a100", "nodes": 128},
        "model": "gpt3_175b",
        "training": {"global_batch": 1536, "precision": "fp16", "optimizer": "adam", "recompute": "full"},
        "strategy": {
            "mesh": {"tp": 8, "pp": 8},
            "pipeline": {"schedule": "interleaved_1f1b", "chunks": 3, "microbatch": 1},
        },
    }


def llama3(*, nodes: int = LLAMA3_GPUS // 8, slow_gpus: Iterable[int] = ()) -> Scenario:
    """Llama 3 405B on a three-level Clos network: 16 micro-batches on every replica of 128 GPUs.

    Kernels of ``slow_gpus`` take 1.2 times as long.
    """
    return {
        "cluster": {"name": "llama3_roce_h100", "nodes": nodes},
        "model": "llama3_405b",
        "training": {
            "global_batch": nodes,
            "sequence": 8192,
            "precision": "bf16",
            "optimizer": "adam",
            "recompute": "full",
        },
        "strategy": {
            "mesh": {"tp": 8, "pp": 16, "order": ["tp", "pp", "dp"]},
            "pipeline": {
                "schedule": "interleaved_1f1b",
                "chunks": 8,
                "microbatch": 1,
                "balance": "blocks_and_ends",
            },
        },
        "faults": [{"slow": f"gpu {gpu}", "by": 1.2} for gpu in slow_gpus],
    }


def asynchronous_servers(*, steps: int = 100) -> Scenario:
    """256 V100 in 32 nodes on 25 GbE, 32 asynchronous servers, 32 layers of 2,048 features: 64 tensors, 537 MB.

    Every tensor lies on all servers, so that every worker talks to all of them in every step; a worker sends one
    message a step to each, as DistBelief did.
    """
    layer = {"kind": "linear", "inputs": 2048, "outputs": 2048, "rows": 2048}
    return {
        "cluster": {"name": "pcie_8gpu_25gbe", "nodes": 32, "servers": {"nodes": 32, "cores": 32}},
        "model": {"name": "layers_of_2048", "layers": [{"name": f"layer_{index}"} | layer for index in range(32)]},
        "training": {"batch_per_gpu": 32, "precision": "fp32", "optimizer": "sgd_momentum"},
        "strategy": {
            "parameter_server": {
                "servers": 32,
                "consistency": "asynchronous",
                "placement": "sharded",
                "messages": "model",
            }
        },
        "faults": [{"jitter": "lognormal", "cv": 0.1}],
        "simulate": {"steps": steps},
    }


def scattered(count: int) -> list[int]:
    """Return ``count`` GPUs anywhere among Llama 3's, the same ones every time."""
    return [(index * 7919 + 13) % LLAMA3_GPUS for index in range(count)]


CASES = (
    Case(
        "resnet50_kernels",
        "ResNet-50 DDP on 8 GPUs, every kernel an event, unfolded",
        0.03,
        resnet50(fold=False),
        coarsened=False,
    ),
    Case("resnet50", "the same, folded and coarsened", 0.003, resnet50()),
    Case("gpt3", "GPT-3 175B, 1,024 GPUs, tp8 pp8 (3 chunks) dp16, 96 micro-batches", 0.12, gpt3()),
    Case("llama3", "Llama-3 405B, 16,384 GPUs, tp8 pp16 (8 chunks) dp128, 3-level Clos", 0.25, llama3()),
    Case("llama3_slow_1", "the same with one slow GPU", 0.6, llama3(slow_gpus=[13])),
    Case(
        "llama3_slow_20_near",
        "the same with twenty slow GPUs in three neighbouring nodes",
        3.0,
        llama3(slow_gpus=range(800, 820)),
    ),
    Case("llama3_slow_20", "the same with twenty slow GPUs anywhere", 3.0, llama3(slow_gpus=scattered(20))),
    Case("llama3_131072", "a 131,072-GPU job of the same shape (dp 1,024)", 1.0, llama3(nodes=16_384)),
    Case(
        "mixture",
        "a mixture of experts of DeepSeek-V3's size, 2,048 GPUs, pp16 ep64 DualPipe",
        0.5,
        "expert_parallel/deepseek_v3_like",
    ),
    Case(
        "deepseek_v3",
        "DeepSeek-V3 as its report lays it out: latent attention, ZeRO-1, stages by FLOPs",
        0.5,
        "expert_parallel/deepseek_v3",
    ),
    Case(
        "asynchronous_servers",
        "asynchronous PS, 256 workers, 32 shards, 100 steps, jitter",
        1.0,
        asynchronous_servers(),
    ),
)
