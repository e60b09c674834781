"""Plans: small spaces gone through exhaustively, bounds below every simulation, what is proven, what goes on."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simdml.costs.bounds import least_step_s
from simdml.documents.document import from_mapping
from simdml.engine.simulator import simulate as simulate_program
from simdml.errors import DoesNotFitError, InfeasibleError, OutputError
from simdml.resources import available
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario
from simdml.studies.plan.answer import certificate, plan_to_dict
from simdml.studies.plan.blocks import Seconds
from simdml.studies.plan.candidate import LEAST, evaluate, pass_through, sharpen, step_s
from simdml.studies.plan.goals import goal_of
from simdml.studies.plan.passing import graph_of
from simdml.studies.plan.planning import plan
from simdml.studies.plan.site import make_site
from simdml.studies.plan.sites import sites_of
from simdml.studies.plan.survey import habits_of, space_of, survey

SMALL = {
    "cluster": {"name": "dgx_a100", "nodes": 2},
    "model": "gpt2_medium",
    "training": {"global_batch": 32, "precision": "fp16"},
    "strategy": {"pipeline": {"schedule": "1f1b"}, "mesh": {"tp": 2}},
}
SPACES = {
    "pipelines": {
        "tp": [2],
        "pp": [1, 2, 4],
        "sharding": ["ddp", "distributed_optimizer"],
        "schedules": ["1f1b", "interleaved_1f1b", "zb_h1", "dual_pipe_v"],
        "chunks": [2],
        "microbatch": [2],
        "recompute": ["none", "full"],
        "sequence_parallel": [True],
    },
    "shards": {"tp": [1, 2], "pp": [1, 2], "sharding": ["zero1", "zero2", "zero3", "fsdp2"], "microbatch": [1, 2],
               "schedules": ["zb_v", "dual_pipe", "1f1b"], "recompute": ["none"]},
}  # fmt: skip
EXPERTS = {
    "cluster": {"name": "dgx_h100", "nodes": 2},
    "model": "mixtral_8x7b",
    "training": {"global_batch": 32, "precision": "bf16", "attention": "flash", "optimizer": "sgd"},
    "plan": {
        "layouts": {
            "cp": [1],
            "pp": [2],
            "tp": [1, 2],
            "ep": [8],
            "microbatch": [1],
            "recompute": ["full"],
            "schedules": ["1f1b", "dual_pipe_v"],
            "sequence_parallel": [True],
        }
    },
}


NICS = {"count": 4, "rate": "200 Gbps"}
MIXED = {
    "cluster": {
        "groups": [
            {"name": gpu, "nodes": 1, "node": {"gpus": {"type": gpu, "count": 4, "fabric": "nvswitch"}, "nics": NICS}}
            for gpu in ("h100", "a100")
        ],
        "network": {"kind": "switch", "efficiency": "infiniband"},
    },
    "model": "gpt2_medium",
    "training": {"global_batch": 16, "precision": "bf16"},
    "faults": [{"slow": "gpu 1", "by": 3.0}],
    "plan": {
        "layouts": {
            "microbatch": [1],
            "sharding": ["ddp", "zero1"],
            "recompute": ["none"],
            "chunks": [2],
            "schedules": ["1f1b", "zb_v", "dual_pipe"],
            "pp": [1, 2, 4],
            "tp": [1, 2],
            "sequence_parallel": [False],
        }
    },
}


def site_of(scenario):
    return make_site(0, "here", "small", from_mapping(scenario), priced=False, powered=False)


@cache
def exhaustive(name):
    """Return every layout that may fit, with its three bounds and its outcome."""
    return tuple(_exhaustive(scenario_of(name)))


def scenario_of(name):
    return {"experts": EXPERTS, "mixed": MIXED}.get(name) or SMALL | {"plan": {"layouts": SPACES[name]}}


def _exhaustive(scenario):
    site = site_of(scenario)
    habits = habits_of(site.scenario())
    for layout, least_s in survey(site).layouts:
        outcome = evaluate(site, layout)
        bounds = [least_s]
        if outcome.ok:
            bounds += [call(site, layout, habits).numbers[LEAST] for call in (pass_through, sharpen)]
        yield layout, bounds, outcome


@pytest.mark.parametrize("name", [*SPACES, "experts", "mixed"])
def test_the_optimum_is_that_of_going_through_everything(name):
    scenario, every = scenario_of(name), exhaustive(name)
    ran = [(outcome.numbers["step_time_s"], layout) for layout, _, outcome in every if outcome.ok]
    assert len(ran) >= 4
    assert {outcome.status for _, _, outcome in every} <= {"ok", "does not fit"}
    for layout, bounds, outcome in every:
        if outcome.ok:
            assert max(bounds) <= outcome.numbers["step_time_s"], layout
    found = plan(scenario, jobs=1)
    assert found.best.outcome.numbers["step_time_s"] == min(ran, key=lambda entry: entry[0])[0]
    assert found.proven
    assert len(found.simulated) < len(ran)
    assert found.num_layouts == survey(site_of(scenario)).legal


def test_a_sharp_bound_is_within_some_percent_of_most_steps():
    ratios = sorted(
        max(bounds) / outcome.numbers["step_time_s"] for _, bounds, outcome in exhaustive("pipelines") if outcome.ok
    )
    assert ratios[len(ratios) // 2] > 0.9


def test_the_closed_form_is_no_more_than_what_the_order_of_actions_takes():
    layouts = {"schedules": ["1f1b", "interleaved_1f1b"], "recompute": ["none"], "sharding": ["ddp"]}
    scenario = SMALL | {"cluster": {"name": "pcie_8gpu_25gbe", "nodes": 2}, "plan": {"layouts": layouts}}
    site = site_of(scenario)
    habits = habits_of(site.scenario())
    deep = [(layout, least_s) for layout, least_s in survey(site).layouts if layout.pp > 1]
    passing = [(least_s, pass_through(site, layout, habits).numbers[LEAST]) for layout, least_s in deep[::3]]
    assert len(passing) > 50
    assert all(least_s <= passing_s * (1 + 1e-9) for least_s, passing_s in passing)
    assert sum(least_s > 0.99 * passing_s for least_s, passing_s in passing) > len(passing) / 4


def test_equal_stages_of_1f1b_take_the_time_of_the_closed_form():
    one = np.ones(4)
    for microbatches in (4, 9):
        graph = graph_of("1f1b", 4, microbatches, 1)
        ends_s = graph.period_s(Seconds(one, 2 * one, one, one), 0.0, 0.0, waits=False)
        assert ends_s == (microbatches + 4 - 1) * 3.0
        halves = graph_of("zb_h1", 4, microbatches, 1)
        assert halves.period_s(Seconds(one, 2 * one, one, one), 0.0, 0.0, waits=False) == 3 * microbatches + 3.0


def test_two_copies_of_a_model_hold_each_other_up():
    """Equal stages of DualPipe take 51 forwards, as simulated (tests/strategies/test_schedules.py), 48 of them busy."""
    one = np.ones(8)
    graph = graph_of("dual_pipe", 8, 16, 2)
    assert graph.period_s(Seconds(one, 2 * one, one, one), 0.0, 0.0, waits=False) == 51.0


def simulated_period_s(graph, seconds, steps):
    """Return the mean time from step to step of the slower entry to a graph, once it has warmed up.

    Devices begin a step when they have ended the one before; messages take no time.
    """
    parts = (seconds.forward, seconds.backward, seconds.inputs, seconds.weights)
    ends, by_step = [0.0] * graph.depth, []
    for _ in range(steps):
        there = []
        for device, phase, stage, needed, _, _ in graph.nodes:
            ends[device] = max(ends[device], there[needed] if needed >= 0 else 0.0) + parts[phase][stage]
            there.append(ends[device])
        by_step.append([ends[entry] for entry in graph.entries])
    return max(last - middle for last, middle in zip(by_step[-1], by_step[steps // 2 - 1], strict=True)) / (steps // 2)


@given(st.lists(st.integers(1, 5), min_size=4, max_size=4), st.sampled_from(["dual_pipe", "1f1b", "zb_h1"]))
def test_steps_follow_each_other_no_faster_than_the_graph_says(stages, schedule):
    forward = np.array(stages, dtype=float)
    seconds = Seconds(forward, 2 * forward, forward, forward)
    graph = graph_of(schedule, 4, 8, 2 if schedule == "dual_pipe" else 1)
    period_s = graph.period_s(seconds, 0.0, 0.0, waits=False)
    assert 0 < period_s <= simulated_period_s(graph, seconds, 12)


def test_what_is_said_not_to_fit_does_not():
    scenario = {
        "cluster": {"name": "dgx_a100_40gb", "nodes": 1},
        "model": "gpt_7_5b",
        "training": {"global_batch": 16, "precision": "fp16", "recompute": "full"},
        "plan": {"layouts": {"microbatch": [1, 2], "chunks": [2], "sequence_parallel": [False]}},
    }
    site = site_of(scenario)
    may_fit = {layout for layout, _ in survey(site).layouts}
    refused = [layout for layout in space_of(site.scenario(), 8, 16).layouts() if layout not in may_fit]
    assert len(refused) > 20
    for layout in refused[::7]:
        with pytest.raises((DoesNotFitError, InfeasibleError)):
            build(site.scenario(layout.applied(site.document))).fitting_memory()


@pytest.mark.parametrize(
    "name",
    [
        "quickstart",
        "gpt2_xl_zero2_offload",
        "resnet50_horovod",
        "llama2_7b_hsdp",
        "llama3_8b_fsdp2_tp",
        "one_weird_trick",
        "vgg16_byteps",
        "resnet50_local_sgd",
        "context_parallel/llama3_8b_ulysses",
        "schedules/dual_pipe_v",
    ],
)
def test_no_program_is_faster_than_its_busiest_stream(name):
    built = build(load_scenario(name))
    program = built.program()
    least = least_step_s(program, built.job.cluster, built.costs)
    step = simulate_program(program, built.job.cluster, built.costs).step_time_s
    assert 0.2 * step < least <= step * (1 + 1e-9)


def test_a_plan_goes_on_where_it_was_with_the_same_bytes(tmp_path):
    scenario = SMALL | {"plan": {"layouts": SPACES["shards"]}}
    whole = plan_to_dict(plan(scenario, jobs=1))

    def stop(progress):
        if progress.last is not None:
            raise KeyboardInterrupt

    part = plan(scenario, jobs=1, out=tmp_path, progress=stop)
    assert not part.finished
    assert not part.proven
    assert len(part.found) == 1
    assert "interrupted" in certificate(part)
    assert not plan_to_dict(part)["finished"]
    again = plan(scenario, jobs=1, out=tmp_path)
    assert plan_to_dict(again) == whole
    lines = (tmp_path / "journal.jsonl").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 1 + len(again.found)


def test_a_cluster_file_that_changed_is_another_plan(tmp_path):
    (tmp_path / "mine.yaml").write_text("nodes: 1\nnode: {gpus: {type: a100, count: 8, fabric: nvswitch}}\n")
    layouts = {"layouts": {"tp": [1], "pp": [1], "microbatch": [4], "sharding": ["ddp"]}}
    choice = {"clusters": [str(tmp_path / "mine.yaml")], **layouts}
    scenario = SMALL | {"strategy": "ddp", "plan": choice}
    plan(scenario, jobs=1, out=tmp_path / "out")
    (tmp_path / "mine.yaml").write_text("nodes: 1\nnode: {gpus: {type: h100, count: 8, fabric: nvswitch}}\n")
    with pytest.raises(OutputError, match="another"):
        plan(scenario, jobs=1, out=tmp_path / "out")


def test_processes_find_the_same_optimum():
    scenario = SMALL | {"plan": {"layouts": SPACES["shards"]}}
    alone, together = plan(scenario, jobs=1), plan(scenario, jobs=2)
    assert together.best.candidate.choice == alone.best.candidate.choice
    assert together.best.rank == alone.best.rank
    assert len(together.simulated) >= len(alone.simulated)


def test_a_gap_saves_simulations():
    scenario = SMALL | {"plan": {"layouts": SPACES["pipelines"], "gap": "20 %"}}
    exact = plan(SMALL | {"plan": {"layouts": SPACES["pipelines"]}}, jobs=1)
    near = plan(scenario, jobs=1)
    frame = exact.to_frame()
    assert frame["step_time_s"].is_monotonic_increasing
    assert frame["why_slower"][0] == "best"
    assert len(exact.plot().axes[0].get_yticklabels()) == min(8, len(exact.simulated))
    assert len(near.simulated) <= len(exact.simulated)
    assert near.best.rank[1] <= exact.best.rank[1] / 0.8
    assert "20 %" in certificate(near)


@pytest.mark.parametrize("name", [name for name in available("scenarios") if name.startswith("plans/")])
def test_bundled_plans_say_which_clusters_and_what_is_best(name):
    scenario = load_scenario(name)
    goal = goal_of(scenario, scenario.spec.plan)
    assert goal.minimise == (scenario.spec.plan.minimise or ("cost" if scenario.spec.cost else "time"))
    labels = [site.label for site in sites_of(scenario, scenario.spec.plan)]
    assert len(set(labels)) == len(labels)


def test_of_thousands_of_layouts_of_405_billion_parameters_few_are_simulated():
    found = plan("plans/llama3_405b_1024_h100", ["plan.layouts.sharding=[ddp, distributed_optimizer]"], jobs=1)
    assert found.num_layouts > 5000
    assert found.proven
    assert len(found.simulated) < 20
    baseline = evaluate(found.sites[0], AsWritten())
    assert found.best.outcome.numbers["step_time_s"] < baseline.numbers["step_time_s"]


class AsWritten:
    def applied(self, document):
        return document


def test_a_mixed_cluster_is_judged_by_its_slower_half():
    site = site_of(MIXED)
    assert [(pace.device, pace.slowdown) for pace in site.paces.every] == [
        ("h100_sxm", 1.0),
        ("a100_sxm_80gb", 1.0),
        ("h100_sxm", 3.0),
    ]
    assert site.paces.of_rank.tolist() == [0, 2, 0, 0, 1, 1, 1, 1]
    plain = {key: value for key, value in MIXED.items() if key != "faults"}
    rated, slow = (dict(survey(site_of(scenario)).layouts) for scenario in (plain, MIXED))
    alone = [layout for layout in rated if layout.pp == 1 and layout.tp == 1]
    assert alone
    assert all(slow[layout] > 1.3 * rated[layout] for layout in alone)


def test_networks_of_images_are_laid_out_as_pytorch_would():
    scenario = {
        "cluster": {"name": "dgx_a100", "nodes": 1},
        "model": "resnet50",
        "training": {"global_batch": 256, "precision": "fp16"},
        "plan": {"layouts": {"pp": [1, 2], "microbatch": [16, 32], "recompute": ["none"]}},
    }
    site = site_of(scenario)
    layouts = list(space_of(site.scenario(), 8, 256).layouts())
    assert {layout.sharding for layout in layouts} == {"ddp", "zero1", "zero2", "zero3", "fsdp2"}
    deep = next(layout for layout in layouts if layout.pp == 2)
    for layout in (deep, layouts[0]):
        assert layout.applied(site.document).data["training"]["kernels"] == "eager"
    plain = scenario | {"strategy": "ddp", "training": {"global_batch": 256, "precision": "fp16", "microbatch": 32}}
    alone = next(layout for layout in layouts if layout.sharding == "ddp" and layout.microbatch == 32)
    step_s_alone = evaluate(site, alone).numbers["step_time_s"]
    assert step_s_alone == evaluate(site_of(plain), AsWritten()).numbers["step_time_s"]


def test_strategies_by_hand_are_all_judged():
    scenario = {
        "cluster": {"name": "pcie_8gpu_25gbe", "nodes": 2},
        "model": "vgg16",
        "training": {"batch_per_gpu": 32},
        "plan": {"strategies": ["ddp", "fsdp2", "zero1", {"data_parallel": {"kind": "ddp", "overlap": False}}]},
    }
    found = plan(scenario, jobs=1)
    assert found.num_layouts == 4
    site = found.sites[0]
    every = [evaluate(site, each.candidate.choice) for each in found.found]
    assert found.best.rank[2] == min(step_s(site, outcome) for outcome in every)
    assert "overlap" not in str(found.best.candidate.choice)
