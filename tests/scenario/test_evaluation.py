"""Evaluation between steps: what it takes, and that the step does not know of it."""

from __future__ import annotations

import pytest

import simdml
import simdml.reporting.headline
from simdml.errors import DocumentError
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario
from simdml.scenario.simulate import simulate
from simdml.strategies.data_parallel.kinds import KINDS
from simdml.strategies.evaluation import compile_evaluation
from simdml.studies.cost.statement import statement

GPT = {
    "cluster": {"name": "dgx_a100", "nodes": 1},
    "model": "gpt2",
    "training": {"global_batch": 32, "microbatch": 2, "precision": "bf16"},
}
SECTION = {"every": "100 steps", "samples": 100}


def test_one_gpu_runs_forward_as_often_as_samples_need():
    base = GPT | {"gpus": 1}
    alone, result = simdml.run(base), simdml.run(base | {"evaluation": SECTION})
    forward = alone.breakdown["forward"]
    assert result.evaluation.passes == 4
    # Sixteen micro-batches a pass; kernels are launched again.
    assert result.evaluation.seconds == pytest.approx(4 * forward, rel=0.02)
    assert result.evaluation.seconds >= 4 * forward
    assert result.step_time_s == alone.step_time_s
    assert result.samples_per_s == alone.samples_per_s
    total = 100 * alone.step_time_s + result.evaluation.seconds
    assert result.samples_per_s_with_evaluation == pytest.approx(100 * 32 / total)
    assert alone.samples_per_s_with_evaluation == alone.samples_per_s


def test_a_pipeline_fills_and_drains_once():
    """Forward of m micro-batches through p equal stages takes (m + p - 1) / m times as long as without a bubble."""
    stages, microbatches = 4, 8
    layers = [
        {"name": f"l{n}", "kind": "linear", "inputs": 4096, "outputs": 4096, "rows": 1024, "output_bytes": "1 B"}
        for n in range(stages)
    ]
    base = {
        "cluster": {"name": "dgx_a100", "nodes": 1},
        "gpus": stages,
        "model": {"name": "layers", "layers": layers},
        "training": {"global_batch": 4 * microbatches, "precision": "bf16", "dispatch": "graph"},
        "strategy": {"mesh": {"pp": stages}, "pipeline": {"microbatch": 4, "schedule": "1f1b"}},
        "evaluation": {"every": 10, "samples": 4 * microbatches},
    }
    result = simdml.run(base)
    forward = result.breakdown["forward"]
    sends = result.evaluation.seconds - forward * (microbatches + stages - 1) / microbatches
    assert 0 <= sends < 0.1 * result.evaluation.seconds
    twice = simdml.run(base | {"evaluation": {"every": 10, "samples": 8 * microbatches}})
    assert twice.evaluation.seconds == pytest.approx(result.evaluation.seconds + forward, rel=0.1)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"one_weird_trick"}))
def test_every_kind_of_data_parallelism_evaluates(kind):
    scenario = load_scenario(GPT | {"strategy": kind})
    program = compile_evaluation(build(scenario).job)
    assert not [line for line in program.lines() if "optimizer" in line or "run backward" in line]
    result = simdml.run(GPT | {"strategy": kind, "evaluation": SECTION})
    assert 0 < result.evaluation.seconds < 4 * result.step_time_s


def test_shards_are_gathered_as_in_training():
    plain, sharded = (
        simdml.run(GPT | {"strategy": kind, "evaluation": SECTION}).evaluation.seconds for kind in ("ddp", "fsdp2")
    )
    assert sharded > plain


def test_evaluation_waits_for_data_too():
    slow = {"loader_workers": 1, "storage": {"total": "1 MB/s"}, "on_device": "1 MB"}
    result = simdml.run(GPT | {"gpus": 1, "input": slow, "evaluation": SECTION})
    assert result.evaluation.seconds == pytest.approx(4 * 32, rel=1e-3)


def test_reports_give_both_throughputs():
    result = simdml.run(GPT | {"evaluation": SECTION})
    assert "of the time" in dict(simdml.reporting.headline.headline(result))["with evaluation"]
    assert result.to_dict()["evaluation"]["samples_per_s_with_evaluation"] < result.samples_per_s
    assert simdml.run(GPT).to_dict()["evaluation"] is None


@pytest.mark.parametrize("section", [{"every": "10 min", "samples": 5}, {"every": 0, "samples": 5}, {"samples": 5}])
def test_refused(section):
    with pytest.raises(DocumentError, match="every"):
        simdml.run(GPT | {"evaluation": section})


def test_workers_of_servers_evaluate_alone():
    job = {
        "cluster": {"name": "pcie_8gpu_25gbe", "nodes": 2, "node.gpus.count": 1},
        "model": "alexnet",
        "training": {"batch_per_gpu": 8},
        "strategy": "parameter_server",
        "evaluation": {"every": 100, "samples": 20},
    }
    program = compile_evaluation(build(load_scenario(job)).job)
    assert not [line for line in program.lines() if any(word in line for word in ("push", "pull", "broadcast"))]
    result = simdml.run(job)
    assert 0 < result.evaluation.seconds < 2 * result.step_time_s


def test_time_to_a_target_has_the_evaluations_in_it():
    base = GPT | {"gpus": 1, "target": {"steps": 1000}, "cost": {"gpu_hour": "2 USD/h"}}
    plain, evaluated = (load_scenario(base | more) for more in ({}, {"evaluation": SECTION}))
    before, after = (statement(simulate(each), each).target for each in (plain, evaluated))
    one = simulate(evaluated).evaluation.seconds
    assert after.seconds == pytest.approx(before.seconds + 10 * one)
    assert after.evaluation_s == pytest.approx(10 * one)
    assert after.usd == pytest.approx(before.usd * after.seconds / before.seconds)
    assert before.evaluation_s == 0
