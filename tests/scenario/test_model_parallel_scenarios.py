"""Layers spread over ranks, in scenario files: they run, fold, and refuse what cannot be."""

from __future__ import annotations

import pytest

import simdml
from simdml.engine.simulator import simulate
from simdml.errors import DocumentError, InfeasibleError
from simdml.program.mesh import Mesh
from simdml.resources import available
from simdml.scenario.building import build
from simdml.scenario.explaining import defaults
from simdml.scenario.loading import load_scenario

NAMES = [name for name in available("scenarios") if name.startswith(("context_parallel/", "expert_parallel/"))]
DEEPSEEK = "expert_parallel/deepseek_v3_like"


@pytest.fixture(scope="module")
def results():
    return {name.rsplit("/", maxsplit=1)[-1]: simdml.run(name) for name in NAMES if name != DEEPSEEK}


def test_all_run_and_fit(results):
    assert len(results) >= 11
    for result in results.values():
        assert 0.1 < result.mfu < 0.6
        assert all(estimate.fits for estimate in result.memory)


def test_what_hides_and_what_does_not(results):
    exposed = {name: result.breakdowns[0].seconds for name, result in results.items()}
    assert "exposed cp" not in exposed["llama3_8b_ring"]
    assert exposed["llama3_8b_all_gather"]["exposed cp"] > exposed["llama3_8b_ulysses"]["exposed cp"] > 0
    assert exposed["mixtral_8x7b_dual_pipe_v"]["exposed ep"] < exposed["mixtral_8x7b"]["exposed ep"]


def test_the_fullest_rank_sets_the_pace_up_to_the_capacity(results):
    even, capped = results["mixtral_8x7b"], results["mixtral_8x7b_imbalanced"]
    free = simdml.run(
        "expert_parallel/mixtral_8x7b_imbalanced", strategy={"expert_parallel": {"capacity_factor": None}}
    )
    assert even.step_time_s < capped.step_time_s < free.step_time_s
    assert even.mfu * even.step_time_s == pytest.approx(capped.mfu * capped.step_time_s)


@pytest.mark.parametrize("name", ["context_parallel/llama3_8b_ring", "expert_parallel/mixtral_8x7b_dual_pipe_v"])
def test_folded_equals_unfolded(name):
    assert simdml.run(name).step_time_s == simdml.run(name, simulate={"fold": False}).step_time_s


def test_a_mixture_of_experts_on_2048_gpus_fits():
    """What it costs to simulate is among the benchmarks."""
    built = build(load_scenario(DEEPSEEK))
    assert built.job.mesh == Mesh((("tp", 1), ("ep", 64), ("dp", 2), ("pp", 16)))
    assert built.fitting_memory()


def test_a_small_copy_of_it_is_the_same_folded_and_unfolded():
    small = {
        "cluster": {"nodes": 4},
        "training": {"global_batch": 64},
        "strategy": {"mesh": {"pp": 4, "ep": 4}},
        "model": {"config": None, "name": "mixtral_8x7b"},
    }
    assert folded_and_not(DEEPSEEK, small)
    real = {
        "cluster": {"nodes": 2},
        "training": {"global_batch": 32},
        "strategy": {"mesh": {"pp": 4, "ep": 4}},
    }
    assert folded_and_not("expert_parallel/deepseek_v3", real)


def folded_and_not(name, changes):
    """Return whether a step takes as long folded as unfolded."""
    built = build(load_scenario(name, changes=changes))
    program = built.program()
    times = [simulate(program, built.job.cluster, built.costs, folded=folded).step_time_s for folded in (True, False)]
    return times[0] == times[1]


def test_ranks_that_share_experts_are_data_parallel_ranks():
    built = build(load_scenario("expert_parallel/mixtral_8x7b"))
    assert built.job.num_replicas == 4
    assert built.job.mesh == Mesh((("tp", 1), ("ep", 4), ("dp", 1), ("pp", 4)))
    assert {choice.path: choice.value for choice in defaults(built)}["strategy.mesh.dp"] == 4


def test_the_mesh_is_in_megatrons_order_and_in_any_other():
    found = build(load_scenario("context_parallel/llama3_8b_ring")).job.mesh
    assert found == Mesh((("tp", 4), ("cp", 4), ("dp", 1), ("pp", 1)))
    changes = {"strategy": {"mesh": {"order": ["cp", "tp", "pp", "dp"]}}}
    found = build(load_scenario("context_parallel/llama3_8b_ring", changes=changes)).job.mesh
    assert found == Mesh((("cp", 4), ("tp", 4), ("pp", 1), ("dp", 1)))


@pytest.mark.parametrize(
    ("mesh", "axes"),
    [
        ({"cp": 2, "ep": 8}, (("tp", 1), ("cp", 2), ("ep", 4), ("dp_shard", 4), ("pp", 1))),
        ({"cp": 2, "ep": 2}, (("tp", 1), ("cp", 2), ("dp_shard", 16), ("pp", 1))),
        ({"cp": 4, "ep": 2}, (("tp", 1), ("cp", 4), ("ep", 2), ("dp_shard", 4), ("pp", 1))),
        (
            {"cp": 1, "ep": 8, "dp_shard": 16, "order": ["pp", "dp_replicate", "dp", "tp"]},
            (("pp", 1), ("dp_replicate", 2), ("ep", 8), ("dp_shard", 2), ("tp", 1)),
        ),
        (
            {"cp": 1, "ep": 4, "dp_shard": 8, "pp": 2, "order": ["dp_shard", "tp", "ep", "pp", "dp"]},
            (("dp_shard", 2), ("tp", 1), ("ep", 4), ("pp", 2), ("dp_replicate", 2)),
        ),
    ],
)
def test_any_axes_in_any_order(mesh, axes):
    changes = {"strategy.context_parallel": None, "strategy.mesh": mesh} | (
        {"strategy.pipeline": {"schedule": "1f1b"}, "training.microbatch": 1} if "pp" in mesh else {}
    )
    built_job = build(load_scenario("expert_parallel/mixtral_8x7b_fsdp2", changes=changes)).job
    assert built_job.mesh.axes == axes
    assert built_job.spread.ep == mesh["ep"]
    assert simdml.run("expert_parallel/mixtral_8x7b_fsdp2", **changes).step_time_s > 0


def test_hybrid_shards_stay_in_a_node_with_the_ranks_that_share_a_sequence():
    changes = {"strategy": {"mesh": {"cp": 2, "ep": 1}, "data_parallel": {"kind": "hsdp"}}}
    mesh = build(load_scenario("expert_parallel/mixtral_8x7b_fsdp2", changes=changes)).job.mesh
    assert mesh.axes == (("tp", 1), ("cp", 2), ("dp_shard", 4), ("dp_replicate", 4), ("pp", 1))
    sequences_alone = {"strategy": {"mesh": {"cp": 2, "ep": 1, "dp_shard": 1}, "data_parallel": {"kind": "hsdp"}}}
    mesh = build(load_scenario("expert_parallel/mixtral_8x7b_fsdp2", changes=sequences_alone)).job.mesh
    assert mesh.size("dp_replicate") == 16


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("context_parallel/llama3_8b_ring", {"strategy.mesh.cp": 3}, r"(?s)mesh.cp.*does not divide the 16 GPUs"),
        (
            "context_parallel/llama3_8b_ring",
            {"training.sequence": 32764},
            r"(?s)mesh.cp.*8 parts of cp 4.*multiple of 8",
        ),
        ("context_parallel/llama3_8b_ring", {"training.attention": "unfused"}, "FlashAttention"),
        ("context_parallel/llama3_8b_ring", {"strategy.mesh.cp": 1}, r"(?s)and cp is 1.*cp: 2"),
        ("context_parallel/llama3_8b_ulysses", {"strategy.mesh": {"tp": 4, "cp": 4}}, r"(?s)8 KV heads.*tp 4 x cp 4"),
        ("context_parallel/llama3_8b_ring", {"strategy.mesh.order": ["tp", "dp", "pp"]}, "with cp left out"),
        (
            "context_parallel/llama3_8b_ring",
            {"strategy.data_parallel": {"kind": "fsdp1"}},
            r"(?s)combine with cp.*fsdp2",
        ),
        (
            "expert_parallel/mixtral_8x7b",
            {"strategy.mesh.ep": 3},
            r"(?s)mesh.ep.*among which experts are shared.*1, 2, 4",
        ),
        (
            "expert_parallel/mixtral_8x7b_fsdp2",
            {"strategy.mesh": {"cp": 2, "ep": 3}},
            r"(?s)mesh.ep.*32 ranks of cp x dp_shard.*1, 2, 4, 8, 16, 32",
        ),
        (
            "expert_parallel/mixtral_8x7b_fsdp2",
            {"strategy.mesh": {"cp": 2, "ep": 8, "order": ["tp", "cp", "dp", "dp", "pp"]}},
            r"(?s)mesh.order.*one of them twice.*tp, pp, cp, ep, dp_shard",
        ),
        (
            "expert_parallel/mixtral_8x7b",
            {"strategy.mesh": {"pp": 1, "ep": 16}, "strategy.data_parallel": {"kind": "zero1"}},
            r"ep 16 does not divide the 8 experts",
        ),
        (
            "expert_parallel/mixtral_8x7b",
            {"strategy.data_parallel": {"kind": "zero3"}},
            r"(?s)stage 3 has no such mode.*zero1",
        ),
        (
            "expert_parallel/mixtral_8x7b",
            {"strategy.expert_parallel": {"pad_to_capacity": True}},
            r"(?s)capacity that is not given.*capacity_factor",
        ),
        ("gpt_22b_sequence_parallel", {"strategy.mesh.tp": 1}, r"(?s)tp is 1.*tp: 2"),
        ("gpt_22b_tp_overlap", {"strategy.tensor_parallel.sequence_parallel": False}, "sequence_parallel is off"),
        ("gpt_22b_sequence_parallel", {"model.sequence": 2044}, r"(?s)2044 tokens.*tp 8.*multiple of 8"),
        (
            "resnet50_ddp_25gbe",
            {"strategy": {"mesh": {"cp": 2}}, "training": {"batch_per_gpu": None, "global_batch": 256}},
            "no attention",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_what_would_do(name, changes, message):
    with pytest.raises(InfeasibleError, match=message):
        simdml.run(name, **changes)


def test_a_load_below_the_mean_is_no_imbalance():
    with pytest.raises(DocumentError, match="imbalance"):
        load_scenario("expert_parallel/mixtral_8x7b", ["strategy.expert_parallel.imbalance=0.5"])
