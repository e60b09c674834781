"""Expert parallelism: bytes, work, parameters and gradients in closed form; pairs that hide all-to-alls."""

from dataclasses import replace

import pytest
from fakes import costs
from layers import GPT, HIDDEN, SAMPLES, SEQUENCE, collectives, flops, pairs, program_of, transformer_job, wire_bytes

from simdml.engine.simulator import simulate
from simdml.errors import InfeasibleError
from simdml.program.instructions import Activity, Beside, Collective, CollectiveKind, Compute
from simdml.strategies.compiler import compile_job
from simdml.strategies.job import DataParallelPlan, PipelinePlan, Spread
from simdml.strategies.overlapped import interleaved
from simdml.workload.transformer import build_transformer

MOE = replace(GPT, num_experts=8, experts_per_token=2, ffn=1024, mlp_bias=False)
LAYERS, TOKENS = MOE.layers, SAMPLES * SEQUENCE
ROUTED_BYTES = 2 * TOKENS * MOE.experts_per_token * HIDDEN
EXPERT_PARAMETERS = LAYERS * MOE.num_experts * 2 * HIDDEN * MOE.ffn
LATE = DataParallelPlan(overlap=False, gradient_as_bucket_view=True)


def spread_over(ep, dp=1, config=MOE, **plans):
    mesh = (("tp", 1), ("ep", ep), ("dp", dp))
    return program_of(mesh, config, **({"spread": Spread(ep=ep), "data_parallel": LATE} | plans))


@pytest.mark.parametrize("ep", [2, 4, 8])
def test_tokens_go_to_their_experts_and_back_forward_and_backward(ep):
    """Four all-to-alls a layer, each s b k h (e-1)/e from every rank (arXiv 2006.16668)."""
    program = spread_over(ep)
    assert collectives(program, "ep") == {(CollectiveKind.ALL_TO_ALL, ROUTED_BYTES): 4 * LAYERS}
    assert wire_bytes(program, "ep", ep) == pytest.approx(4 * LAYERS * ROUTED_BYTES * (ep - 1) / ep)


def test_recomputation_sends_tokens_again():
    assert sum(collectives(spread_over(4, recompute="full"), "ep").values()) == 6 * LAYERS


@pytest.mark.parametrize("ep", [1, 2, 8])
def test_a_rank_computes_as_much_whatever_experts_it_holds(ep):
    assert flops(spread_over(ep, 8 // ep)) == flops(spread_over(1, 8))


@pytest.mark.parametrize(("ep", "dp"), [(2, 4), (4, 2), (8, 1)])
def test_gradients_of_experts_are_summed_over_the_ranks_that_hold_them(ep, dp):
    program = spread_over(ep, dp)
    dense = transformer_job((("tp", 1),), MOE).build(SAMPLES).parameter_count - EXPERT_PARAMETERS
    assert collectives(program, "dp") == {(CollectiveKind.ALL_REDUCE, 2.0 * dense): 1}
    experts = {(CollectiveKind.ALL_REDUCE, 2.0 * EXPERT_PARAMETERS / ep): 1} if dp > 1 else {}
    assert collectives(program, "expert dp") == experts


def test_buckets_hold_gradients_of_experts_or_of_the_rest_and_lose_none():
    program = spread_over(4, 2, data_parallel=DataParallelPlan(overlap=True, bucket_cap_bytes=100_000))
    dense = transformer_job((("tp", 1),), MOE).build(SAMPLES).parameter_count - EXPERT_PARAMETERS
    for group, total in (("dp", 2.0 * dense), ("expert dp", 2.0 * EXPERT_PARAMETERS / 4)):
        found = collectives(program, group)
        assert sum(found.values()) > LAYERS
        assert sum(payload * times for (_, payload), times in found.items()) == total


def test_the_optimizer_updates_the_experts_of_the_rank():
    def updated(program):
        computes = [i for i in program.classes[0].streams[0].instructions if isinstance(i, Compute)]
        return sum(op.bytes for c in computes if c.activity == Activity.OPTIMIZER for op in c.operators)

    whole, part = updated(spread_over(1, 8)), updated(spread_over(4, 2))
    total = transformer_job((("tp", 1),), MOE).build(SAMPLES).parameter_count
    assert part / whole == pytest.approx((total - EXPERT_PARAMETERS * 3 / 4) / total, rel=1e-3)


@pytest.mark.parametrize("load", [1.25, 2.0])
def test_the_fullest_rank_sets_the_pace_and_model_flops_do_not_count_it(load):
    even, loaded = (build_transformer(MOE, samples=SAMPLES, sequence=SEQUENCE, expert_load=x) for x in (1.0, load))
    assert loaded.model_flops_per_sample == even.model_flops_per_sample
    program = spread_over(4, options={"expert_load": load})
    assert collectives(program, "ep") == {(CollectiveKind.ALL_TO_ALL, load * ROUTED_BYTES): 4 * LAYERS}
    experts = 3 * 2 * TOKENS * MOE.experts_per_token * 2 * HIDDEN * MOE.ffn * LAYERS
    assert flops(program) - flops(spread_over(4)) == pytest.approx((load - 1) * experts)


def test_a_shared_expert_is_a_dense_mlp_of_every_token():
    shared = replace(MOE, shared_ffn=512)
    extra = flops(spread_over(4, config=shared)) - flops(spread_over(4))
    assert extra == 3 * 2 * TOKENS * 2 * HIDDEN * 512 * LAYERS
    assert collectives(spread_over(4, config=shared), "ep") == collectives(spread_over(4), "ep")


def test_sequence_parallel_ranks_dispatch_their_part_and_gather_it_for_the_experts():
    mesh = (("tp", 2), ("ep", 4), ("dp", 1))
    program = program_of(mesh, MOE, spread=Spread(sequence_parallel=True, ep=4), data_parallel=LATE)
    assert collectives(program, "ep") == {(CollectiveKind.ALL_TO_ALL, ROUTED_BYTES / 2): 4 * LAYERS}
    assert collectives(program, "tp")[CollectiveKind.ALL_GATHER, ROUTED_BYTES] == 3 * LAYERS


def compute(name):
    return Compute(name, Activity.FORWARD, ())


def exchange(name):
    return Collective(name, CollectiveKind.ALL_TO_ALL, "ep", 1.0)


def test_two_passes_take_turns_at_their_all_to_alls():
    first = [compute("F0"), exchange("dispatch"), compute("F1"), exchange("combine"), compute("F2")]
    second = [compute("B0"), exchange("combine'"), compute("B1"), exchange("dispatch'"), compute("B2")]
    merged = [
        f"{made.kernels[0].label} | {made.collective.label}" if isinstance(made, Beside) else made.label
        for made in interleaved(first, second)
    ]
    assert merged == ["F0", "B0 | dispatch", "F1 | combine'", "B1 | combine", "F2 | dispatch'", "B2"]


def test_what_one_pass_has_left_waits_for_its_own_all_to_all():
    merged = list(interleaved([compute("F0")], [compute("B0"), exchange("x"), compute("B1")]))
    assert [made.label for made in merged] == ["F0", "B0", "x", "B1"]


@pytest.mark.parametrize("name", ["dual_pipe", "dual_pipe_v"])
def test_dual_pipe_hides_all_to_alls_and_moves_as_much(name):
    def program(schedule):
        plan = PipelinePlan(schedule, 2, balance=(0, 2, 3, 5) if schedule == "dual_pipe" else tuple(range(6)))
        depth = 4 if schedule == "dual_pipe" else 3
        mesh = (("tp", 1), ("ep", 2), ("dp", 1), ("pp", depth))
        return program_of(mesh, MOE, microbatches=4 * depth, spread=Spread(ep=2), pipeline=plan)

    found = program(name)
    stages = len(found.classes)
    passes = 16 if name == "dual_pipe" else 12
    assert sum(sum(collectives(found, "ep", index).values()) for index in range(stages)) == passes * 4 * LAYERS
    assert any(pair.collective.group == "ep" for index in range(stages) for pair in pairs(found, index))


def test_folded_equals_unfolded():
    mesh = (("tp", 1), ("ep", 4), ("dp", 2), ("pp", 2))
    the_job = transformer_job(
        mesh, MOE, microbatches=8, spread=Spread(ep=4), pipeline=PipelinePlan("dual_pipe", 2), data_parallel=LATE
    )
    program, prices = compile_job(the_job), costs(the_job.cluster)
    folded = simulate(program, the_job.cluster, prices)
    unfolded = simulate(program, the_job.cluster, prices, folded=False)
    assert folded.step_time_s == unfolded.step_time_s
    assert folded.execution.partition.num_classes < unfolded.execution.partition.num_classes


def test_experts_that_do_not_divide_and_models_without_are_refused():
    with pytest.raises(InfeasibleError, match=r"(?s)ep 3 does not divide the 8 experts.*2, 4, 8"):
        spread_over(3)
    with pytest.raises(InfeasibleError, match="gpt has no experts"):
        spread_over(2, config=GPT)
