"""Flow tables and partitions that are remembered: equal to fresh ones, and missed by all that they depend on."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from simdml.costs.model import CostModel
from simdml.engine import remembered
from simdml.engine.conditions import AS_RATED, Conditions
from simdml.engine.flows import flow_table
from simdml.engine.folding import fold
from simdml.engine.remembered import transfers_and_classes
from simdml.program import program as programs
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario

JOB = {
    "cluster": {"name": "dgx_a100", "nodes": 2},
    "model": "gpt2",
    "training": {"global_batch": 16, "microbatch": 1, "precision": "fp16"},
    "strategy": {"mesh": {"tp": 2, "pp": 2}},
}


def built(**changes):
    made = build(load_scenario(JOB, changes=changes))
    return made.program(), made.job.cluster, made.costs


def remembered_of(job, conditions=AS_RATED, *, folded=True):
    return transfers_and_classes(*job, conditions, folded=folded)


def test_a_job_finds_what_it_left():
    table, partition = remembered_of(built())
    again, folded = remembered_of(built())
    assert again is table
    assert folded is partition


def test_a_model_written_down_finds_what_an_equal_one_left():
    layers = [{"name": f"layer {index}", "kind": "linear", "inputs": 64, "outputs": 64} for index in range(4)]
    job = {"cluster": "dgx1_v100", "model": {"name": "four", "layers": layers}, "training": {"batch_per_gpu": 8}}
    first, second = (build(load_scenario(job)) for _ in range(2))
    assert first.job.build == second.job.build
    assert first.program() is second.program()
    layers[-1]["bias"] = False
    assert build(load_scenario(job)).job.build != first.job.build


def test_other_kernels_change_neither_transfers_nor_classes():
    table, partition = remembered_of(built())
    slower, same = remembered_of(built(**{"profile.compute_scale": {"matmul": 3.0}}))
    assert slower is table
    assert same is partition


CHANGES = {
    "model": {"model": "gpt2_medium"},
    "cluster": {"cluster.nodes": 4},
    "network": {"cluster.network.oversubscription": 4},
    "batch": {"training.microbatch": 2},
    "mesh": {"strategy.mesh.tp": 4},
    "fit": {"communication.network": "nccl_ethernet"},
    "version": {"communication.version": "2.18"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_jobs_are_worked_out_anew(change):
    first = remembered_of(built())
    job = built(**CHANGES[change])
    table, partition = remembered_of(job)
    assert table is not first[0]
    assert partition is not first[1]
    fresh = flow_table(*job)
    assert [family.prices for family in table.families] == [family.prices for family in fresh.families]
    assert_same(partition, fold(job[0], job[1], fresh))


CONDITIONS = {
    "slow GPU": Conditions(slow_gpus={3: 1.5}),
    "slower GPU": Conditions(slow_gpus={3: 2.0}),
    "another slow GPU": Conditions(slow_gpus={4: 1.5}),
    "slow link": Conditions(link_bytes_per_s={0: 1e9}),
    "jitter": Conditions(jitter_cv=0.1),
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_faults_change_classes_alone(condition):
    job = built()
    table, partition = remembered_of(job)
    same, other = remembered_of(job, CONDITIONS[condition])
    assert same is table
    assert other is not partition
    assert_same(other, fold(job[0], job[1], table, CONDITIONS[condition]))
    assert remembered_of(job)[1] is partition


def test_what_is_not_to_be_folded_is_not():
    job = built()
    assert remembered_of(job)[1].num_classes < remembered_of(job, folded=False)[1].num_classes == 16


@pytest.mark.parametrize("part", ["messages", "transports"])
def test_other_prices_make_another_table(part):
    program, cluster, costs = built()
    other = {
        "messages": replace(costs.messages, per_message_s=1.0),
        "transports": dict(costs.transports) | {"host copies": costs.collectives},
    }[part]
    table, _ = remembered_of((program, cluster, costs))
    assert remembered_of((program, cluster, replace(costs, **{part: other})))[0] is not table


def test_very_large_jobs_are_not_remembered(monkeypatch):
    monkeypatch.setattr(remembered, "RANKS_REMEMBERED", 8)
    first, second = remembered_of(built()), remembered_of(built())
    assert first[0] is not second[0]
    assert_same(first[1], second[1])


def test_a_program_is_checked_once_and_another_one_anew(monkeypatch):
    program, *_ = built()
    programs.check(program)
    calls = []
    monkeypatch.setattr(programs, "_check", calls.append)
    programs.check(program)
    assert calls == []
    broken = replace(program, groups=())
    programs.check(broken)
    assert calls == [broken]


def assert_same(partition, other):
    for name in ("rank_class", "flow_class"):
        assert np.array_equal(getattr(partition, name), getattr(other, name))
    assert partition.representatives == other.representatives
    assert partition.link_representatives == other.link_representatives
    assert partition.weights == other.weights
    assert partition.reason == other.reason


def test_everything_costs_and_conditions_consist_of_was_thought_of():
    """What is added to either is part of the keys, or changes neither transfers nor classes."""
    of_kernels_and_servers = {"compute", "precision", "host_launch_s", "server", "host", "interference", "dispatch"}
    in_keys = {field.name for field in fields(remembered._Transfers)} - {"program", "cluster", "costs"}
    assert {field.name for field in fields(CostModel)} == in_keys | of_kernels_and_servers
    of_classes = {"slow_gpus", "link_bytes_per_s", "jitter_cv", "seed"}
    assert {field.name for field in fields(Conditions)} == of_classes | {"beside"}
