"""Context parallelism: bytes, work and memory in closed form, by method."""

from dataclasses import replace

import pytest
from fakes import costs
from layers import GPT, SAMPLES, SEQUENCE, collectives, flops, pairs, program_of, transformer_job, wire_bytes

from simdml.costs.activations import Keeping
from simdml.engine.simulator import simulate
from simdml.errors import InfeasibleError
from simdml.program.instructions import Activity, CollectiveKind
from simdml.strategies.compiler import compile_job
from simdml.strategies.job import DataParallelPlan, Spread

GROUPED = replace(GPT, kv_heads=4)
QUERY_BYTES = 2 * SAMPLES * SEQUENCE * GPT.hidden
LATE = DataParallelPlan(overlap=False, gradient_as_bucket_view=True)


def spread_over(cp, method="ring", config=GROUPED, tp=1, attention="flash", **plans):
    mesh = (("tp", tp), ("cp", cp))
    plans = {"spread": Spread(cp=cp, context=method), "data_parallel": LATE} | plans
    return program_of(mesh, config, options={"context_ways": cp, "attention": attention}, **plans)


@pytest.mark.parametrize("cp", [2, 4])
@pytest.mark.parametrize("tp", [1, 2])
def test_ring_passes_keys_and_values_forward_and_with_their_gradients_backward(cp, tp):
    """c - 1 messages of 2 (s/c) b h_kv a layer, and as many of twice that (arXiv 2310.01889)."""
    program = spread_over(cp, tp=tp)
    keys_and_values = 2 * QUERY_BYTES / 2 / cp / tp  # h_kv is h/2
    per_layer = (cp - 1) * keys_and_values * (1 + 2)
    assert wire_bytes(program, "cp", cp) == pytest.approx(GPT.layers * per_layer)
    assert {kind for kind, _ in collectives(program, "cp")} == {CollectiveKind.SHIFT}
    assert len(pairs(program)) == GPT.layers * 2 * (cp - 1)


@pytest.mark.parametrize("cp", [2, 4])
def test_all_gather_gathers_keys_and_values_twice_and_scatters_their_gradients(cp):
    program = spread_over(cp, "all_gather")
    whole = 2 * QUERY_BYTES / 2
    assert collectives(program, "cp") == {
        (CollectiveKind.ALL_GATHER, whole): 2 * GPT.layers,
        (CollectiveKind.REDUCE_SCATTER, whole): GPT.layers,
    }


@pytest.mark.parametrize("attention", ["flash", "unfused"])
@pytest.mark.parametrize("cp", [2, 4])
def test_ulysses_trades_queries_keys_values_and_output(cp, attention):
    """Four all-to-alls of sbh/c forward and four backward, smaller for grouped keys (arXiv 2309.14509, section 3.2)."""
    program = spread_over(cp, "ulysses", attention=attention)
    assert collectives(program, "cp") == {
        (CollectiveKind.ALL_TO_ALL, QUERY_BYTES / cp): 2 * 2 * GPT.layers,
        (CollectiveKind.ALL_TO_ALL, QUERY_BYTES / cp / 2): 2 * 2 * GPT.layers,
    }
    program = spread_over(cp, "ulysses", GPT, attention=attention)
    assert wire_bytes(program, "cp", cp) == pytest.approx(8 * GPT.layers * QUERY_BYTES / cp * (cp - 1) / cp)


@pytest.mark.parametrize("method", ["ring", "all_gather", "ulysses"])
@pytest.mark.parametrize("cp", [2, 4])
def test_a_rank_does_its_part_of_all_work(method, cp):
    whole = program_of((("tp", 1),), GROUPED, options={"attention": "flash"})
    for activity in (Activity.FORWARD, Activity.BACKWARD):
        part = flops(spread_over(cp, method), activity=activity)
        assert part == pytest.approx(flops(whole, activity=activity) / cp)


@pytest.mark.parametrize("cp", [2, 4])
def test_gradients_are_summed_over_ranks_that_share_sequences(cp):
    program = spread_over(cp)
    parameters = transformer_job((("tp", 1),), GROUPED).build(SAMPLES).parameter_count
    assert collectives(program, "dp") == {(CollectiveKind.ALL_REDUCE, 2.0 * parameters): 1}


def test_model_flops_and_samples_are_those_of_the_whole_sequence():
    whole = transformer_job((("tp", 1),), GROUPED, options={"attention": "flash"}).build(SAMPLES)
    part = transformer_job((("cp", 4),), GROUPED, options={"attention": "flash", "context_ways": 4}).build(SAMPLES)
    assert part.model_flops_per_sample == whole.model_flops_per_sample
    assert part.tokens_per_sample == whole.tokens_per_sample
    assert part.parameter_count == whole.parameter_count


def test_activations_are_divided():
    options = {"attention": "flash"}
    whole = transformer_job((("tp", 1),), options=options).build(SAMPLES)
    part = transformer_job((("cp", 4),), options=options | {"context_ways": 4}).build(SAMPLES)
    keeping = Keeping()
    assert keeping.block_bytes(part.blocks[1]) == keeping.block_bytes(whole.blocks[1]) / 4
    assert part.blocks[1].output_bytes == whole.blocks[1].output_bytes / 4


@pytest.mark.parametrize("method", ["ring", "all_gather", "ulysses"])
def test_folded_equals_unfolded(method):
    the_job = transformer_job(
        (("cp", 4), ("dp", 2)),
        GROUPED,
        spread=Spread(cp=4, context=method),
        options={"context_ways": 4, "attention": "flash"},
    )
    program, prices = compile_job(the_job), costs(the_job.cluster)
    folded = simulate(program, the_job.cluster, prices)
    unfolded = simulate(program, the_job.cluster, prices, folded=False)
    assert folded.step_time_s == unfolded.step_time_s


@pytest.mark.parametrize(
    ("plans", "message"),
    [
        ({"method": "ulysses", "cp": 8}, r"(?s)4 KV heads of gpt do not divide over tp 1 x cp 8.*ring"),
        ({"method": "ring", "cp": 2, "attention": "unfused"}, "(?s)FlashAttention.*attention: flash"),
    ],
)
def test_what_cannot_be_spread_is_refused(plans, message):
    with pytest.raises(InfeasibleError, match=message):
        spread_over(**plans)
