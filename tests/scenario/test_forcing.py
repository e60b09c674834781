"""Collectives by name in scenarios: whom a rule is for, and what is refused where."""

from __future__ import annotations

import pytest

import simdml
from simdml.errors import DocumentError, InfeasibleError, UnknownNameError

TP = {
    "cluster": {"name": "dgx_h100", "nodes": 2},
    "model": "gpt2_medium",
    "training": {"global_batch": 64, "precision": "bf16"},
    "strategy": {"mesh": {"tp": 4}},
}


def algorithms(**communication):
    """Return which algorithm and protocol each group's collectives use."""
    result = simdml.run(TP | ({"communication": communication} if communication else {}))
    execution = result.recording.execution
    costs = built(TP | ({"communication": communication} if communication else {})).costs
    members = {"tp": range(4), "dp": range(0, 16, 4)}
    found = {}
    for rank_program in execution.program.classes:
        for stream in rank_program.streams:
            for each, _ in stream.counts:
                if type(each).__name__ == "Collective":
                    plan = costs.of_collective(each.transport, each.group).plan(
                        each.kind, members[each.group], each.payload_bytes
                    )
                    found.setdefault(each.group, set()).add((plan.algorithm, plan.protocol))
    return found


def built(scenario):
    from simdml.scenario.building import build
    from simdml.scenario.loading import load_scenario

    return build(load_scenario(scenario))


def test_a_rule_is_for_the_job_or_for_a_group_or_a_kind():
    free = algorithms()
    assert free["tp"] == {("ring", "simple")}
    assert algorithms(algorithm="Ring", protocol="LL")["tp"] == {("ring", "ll")}
    one = algorithms(force=[{"group": "dp", "algorithm": "Tree", "protocol": "Simple"}])
    assert one == {"tp": free["tp"], "dp": {("tree", "simple")}}
    kind = algorithms(force=[{"kind": "all_reduce", "protocol": "LL128"}], algorithm="Ring")
    assert all(protocol == "ll128" for pairs in kind.values() for _, protocol in pairs)
    first = algorithms(force=[{"group": "tp", "algorithm": "Tree"}, {"algorithm": "hierarchical", "group": "dp"}])
    assert {name for name, _ in first["tp"]} == {"tree"}
    # The replicas' groups have two ranks on each of two nodes.
    assert first["dp"] == {("hierarchical", "simple")}


def test_several_and_all_but_some_are_as_nccl_has_them():
    free = algorithms()
    assert algorithms(algorithm="^NVLS,NVLSTree,Tree") == algorithms(algorithm="Ring")
    assert algorithms(algorithm="Ring,Tree", protocol="^Simple")["tp"] <= {("ring", "ll"), ("ring", "ll128")}
    assert algorithms(algorithm="^PAT") == free


def test_slower_names_make_slower_steps():
    free, slow = simdml.run(TP), simdml.run(TP | {"communication": {"algorithm": "Ring", "protocol": "LL"}})
    assert slow.step_time_s > free.step_time_s
    assert any("other collectives are as without it" in note for note in slow.notes)
    assert not any("other collectives" in note for note in free.notes)


def test_switches_that_sum_are_the_clusters_and_the_jobs_to_use():
    plain = {"name": "dgx_h100", "nodes": 8, "network.sharp": False}
    job = TP | {"strategy": {"data_parallel": {"kind": "ddp", "overlap": False}}, "cluster": {**plain}}
    job["cluster"].pop("network.sharp")
    sharp, none = ({"communication": {"collnet": each}} for each in (True, False))
    assert simdml.run(job | none).step_time_s == simdml.run(job | none | {"cluster": plain}).step_time_s
    assert simdml.run(job | sharp).step_time_s < simdml.run(job | none).step_time_s
    with pytest.raises(InfeasibleError, match="do not sum") as found:
        simdml.run(job | sharp | {"cluster": plain})
    assert "sharp: true" in found.value.hint


@pytest.mark.parametrize(
    ("communication", "error", "words"),
    [
        ({"algorithm": "NVLSTree"}, InfeasibleError, "several nodes"),
        ({"algorithm": "Rings"}, UnknownNameError, "did you mean"),
        ({"algorithm": "Ring,hierarchical"}, UnknownNameError, "hierarchical"),
        ({"protocol": "^LL,LL128,Simple"}, InfeasibleError, "leaves none"),
        ({"algorithm": "NVLS,NVLSTree"}, InfeasibleError, "NVLS needs .*; NVLSTree needs"),
        ({"force": [{"kind": "all_gather", "algorithm": "Tree"}]}, InfeasibleError, "no all_gather by Tree"),
        ({"force": [{"kind": "all_to_all", "protocol": "LL"}]}, InfeasibleError, "choice of protocol"),
        ({"force": [{"kind": "all_reduce"}]}, DocumentError, "needs an algorithm"),
        ({"force": [{"group": "dpp", "algorithm": "Ring"}]}, DocumentError, "dp"),
        ({"force": [{"algorithm": "halving_doubling", "protocol": "LL"}]}, InfeasibleError, "made of sends"),
        ({"library": "gloo", "algorithm": "Ring"}, InfeasibleError, "by name"),
        ({"algorithm": "NVLS", "protocol": "LL"}, InfeasibleError, "no protocol but Simple"),
        ({"force": [{"group": "tp", "algorithm": "hierarchical"}]}, InfeasibleError, "several nodes"),
    ],
)
def test_refused_where_it_is_written(communication, error, words):
    with pytest.raises(error, match=words) as found:
        simdml.run(TP | {"communication": communication})
    assert found.value.place is not None


def test_sharp_is_of_infiniband():
    cluster = {"name": "dgx_h100", "nodes": 2, "network.efficiency": "roce"}
    with pytest.raises(DocumentError, match="sharp"):
        simdml.run(TP | {"cluster": cluster})


def test_without_pxn_experts_pay_for_thin_spines():
    job = {
        "cluster": {"name": "dgx_h100", "nodes": 4, "network.nodes_per_leaf": 4, "network.oversubscription": 8},
        "model": "mixtral_8x7b",
        "training": {"global_batch": 32, "microbatch": 1, "sequence": 2048, "precision": "bf16", "attention": "flash"},
        "strategy": {"mesh": {"ep": 8, "tp": 4}, "data_parallel": {"kind": "distributed_optimizer"}},
    }
    with_pxn, without = (simdml.run(job | {"communication": {"pxn": each}}) for each in (True, False))
    assert without.breakdown["exposed ep"] > 1.5 * with_pxn.breakdown["exposed ep"]
    assert any(load.kind == "leaf" for load in without.links)
