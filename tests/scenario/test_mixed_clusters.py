"""Clusters with GPUs of two kinds: who waits, what fits, and batches dealt in shares."""

from __future__ import annotations

import pytest

import simdml
from simdml.errors import DocumentError, DoesNotFitError, InfeasibleError

NICS = {"count": 8, "rate": "200 Gbps"}
MIXED = {
    "cluster": {
        "groups": [
            {"name": name, "nodes": 1, "node": {"gpus": {"type": gpu, "count": 8, "fabric": "nvswitch"}, "nics": NICS}}
            for name, gpu in (("new", "h100_sxm"), ("old", "a100_sxm_40gb"))
        ],
        "network": {"kind": "switch", "efficiency": "infiniband"},
    },
    "model": "gpt2_large",
    "training": {"global_batch": 96, "precision": "bf16", "attention": "flash"},
}


def shared(new, old, batch=96, **changes):
    training = MIXED["training"] | {"global_batch": batch, "batch_share": {"new": new, "old": old}}
    return MIXED | {"training": training | changes}


def alone(name, batch):
    group = next(group for group in MIXED["cluster"]["groups"] if group["name"] == name)
    cluster = MIXED["cluster"] | {"groups": [group]}
    return simdml.run(MIXED | {"cluster": cluster, "training": MIXED["training"] | {"global_batch": batch}})


def test_the_faster_gpus_wait_for_the_slower():
    result = simdml.run(MIXED)
    old, new = sorted(result.breakdowns, key=lambda each: each.seconds["forward"], reverse=True)
    assert "waiting for peers" not in old.seconds or old.seconds["waiting for peers"] < 1e-3
    old_s, new_s = (sum(each.seconds[name] for name in ("forward", "backward", "optimizer")) for each in (old, new))
    idle = new.seconds["waiting for peers"] + new.seconds["exposed dp"] - old.seconds["exposed dp"]
    assert idle == pytest.approx(old_s - new_s, rel=0.05)
    assert result.step_time_s > alone("old", 48).step_time_s


def test_shares_of_the_batch_change_what_each_computes():
    result = simdml.run(shared(2, 1))
    by_class = {each.rank_class: each for each in result.breakdowns}
    assert set(by_class) == {"micro-batch of 4", "micro-batch of 8"}
    assert by_class["micro-batch of 4"].seconds["forward"] == alone("old", 32).breakdown["forward"]
    assert by_class["micro-batch of 8"].seconds["forward"] == alone("new", 64).breakdown["forward"]
    assert result.samples_per_step == 96
    even = simdml.run(MIXED)
    assert result.step_time_s < even.step_time_s
    assert result.samples_per_s == pytest.approx(96 / result.step_time_s)
    flops = result.model_flops_per_s_per_gpu * result.step_time_s
    assert flops == pytest.approx(even.model_flops_per_s_per_gpu * even.step_time_s)


def test_equal_shares_are_the_default():
    assert simdml.run(shared(1, 1)).step_time_s == simdml.run(MIXED).step_time_s
    assert simdml.run(shared(0.5, 0.5)).step_time_s == simdml.run(MIXED).step_time_s


def test_shares_fold_exactly_and_accumulate():
    base = shared(2, 1, microbatch=3)
    folded, unfolded = (simdml.run(base | {"simulate": {"fold": fold}}) for fold in (True, False))
    assert folded.step_time_s == unfolded.step_time_s
    assert {each.rank_class for each in folded.breakdowns} == {"micro-batch of 2", "micro-batch of 4"}
    assert simdml.run(base | {"strategy": "fsdp2"}).samples_per_step == 96


def test_batches_are_loaded_and_evaluated_in_shares():
    section = {"loader_workers": 4, "storage": {"total": "1 MB/s"}, "on_device": "100 kB"}
    result = simdml.run(shared(2, 1) | {"input": section, "evaluation": {"every": 10, "samples": 9600}})
    assert result.samples_per_s == pytest.approx(10, rel=0.01)
    assert result.evaluation.seconds >= 960


def test_utilisation_is_of_all_peaks():
    result = simdml.run(MIXED)
    assert result.mfu == pytest.approx(result.model_flops_per_s_per_gpu / ((989e12 + 312e12) / 2), rel=0.01)


def test_a_job_fits_if_it_fits_the_smallest():
    big = {"training": MIXED["training"] | {"global_batch": 224}}
    assert alone("new", 112).memory[0].total > 40 * 2**30
    with pytest.raises(DoesNotFitError):
        simdml.run(MIXED | big)
    assert {round(each.capacity / 2**30) for each in simdml.run(shared(2, 1)).memory} == {40, 80}


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"batch_share": {"new": 2}}, DocumentError, "leaves out"),
        ({"batch_share": {"new": 2, "olt": 1}}, DocumentError, "old"),
        ({"batch_share": {"new": 3, "old": 2}}, InfeasibleError, "global_batch: a multiple of 80"),
        ({"batch_share": {"new": 0, "old": 2}}, DocumentError, "greater than 0"),
    ],
)
def test_refused(changes, error, words):
    with pytest.raises(error) as found:
        simdml.run(MIXED | {"training": MIXED["training"] | changes})
    assert words in f"{found.value} {found.value.hint}"


@pytest.mark.parametrize("strategy", ["dataparallel", {"mesh": {"tp": 2}}, "parameter_server"], ids=str)
def test_only_whole_replicas_have_shares(strategy):
    with pytest.raises(InfeasibleError, match="train a whole model"):
        simdml.run(shared(2, 1) | {"strategy": strategy})
