"""Options that would change nothing are refused, and so is what a mesh cannot share, before anything else is said."""

from __future__ import annotations

import pytest

from simdml.errors import InfeasibleError
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario

IMAGES = {"cluster": "dgx_h100", "model": "resnet50", "training": {"batch_per_gpu": 32}}
TOKENS = {
    "cluster": {"name": "dgx_h100", "nodes": 6},
    "model": "gpt2_xl",
    "training": {"global_batch": 48, "microbatch": 1},
}
MIXTURE = TOKENS | {"model": "mixtral_8x7b"}


@pytest.mark.parametrize(
    ("document", "strategy", "message", "hint"),
    [
        (
            IMAGES,
            {"data_parallel": {"powersgd_rank": 4}},
            "powersgd_rank says nothing about comm_hook: none",
            "powersgd",
        ),
        (
            IMAGES,
            {"data_parallel": {"comm_hook": "batched_powersgd", "powersgd_min_compression_rate": 3}},
            "powersgd_min_compression_rate says nothing about comm_hook: batched_powersgd",
            "powersgd",
        ),
        (TOKENS, {"expert_parallel": {"imbalance": 2.0}}, "gpt2_xl has none", "mixtral"),
        (
            TOKENS,
            {"mesh": {"tp": 2}, "tensor_parallel": {"sequence_parallel": True, "async_all_reduce": True}},
            "no all-reduce of input gradients",
            "overlap",
        ),
        (MIXTURE, {"mesh": {"ep": 3}}, "ep 3 does not divide the 8 experts", "2, 4, 8"),
        (MIXTURE, {"mesh": {"ep": 16}}, "ep 16 does not divide the 8 experts", "2, 4, 8"),
        (TOKENS, {"mesh": {"ep": 2}}, "gpt2_xl has no experts", "leave ep out"),
        (
            MIXTURE,
            {"mesh": {"cp": 16}, "context_parallel": {"method": "ulysses"}},
            "8 KV heads of mixtral_8x7b do not divide over tp 1 x cp 16",
            "ring",
        ),
    ],
)
def test_refused_where_it_is_written_though_the_job_would_not_fit_either(document, strategy, message, hint):
    with pytest.raises(InfeasibleError, match=message) as refused:
        build(load_scenario(document | {"strategy": strategy}))
    assert refused.value.place is not None
    assert hint in refused.value.hint


def test_powersgd_has_its_options():
    strategy = {"data_parallel": {"comm_hook": "powersgd", "powersgd_rank": 4, "powersgd_min_compression_rate": 3}}
    built = build(load_scenario(IMAGES | {"strategy": strategy}))
    assert (built.job.data_parallel.powersgd_rank, built.job.data_parallel.powersgd_min_compression_rate) == (4, 3)
