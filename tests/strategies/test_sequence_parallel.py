"""Sequence parallelism: bytes, kernels and memory in closed form (Korthikanti et al., arXiv 2205.05198, section 4)."""

from dataclasses import replace

import pytest
from fakes import RingCost, costs
from layers import (
    GPT,
    HIDDEN,
    SAMPLES,
    SBH_BYTES,
    SEQUENCE,
    collectives,
    flops,
    pairs,
    program_of,
    transformer_job,
    wire_bytes,
)

from simdml.costs.activations import Keeping
from simdml.engine.simulator import simulate
from simdml.program.instructions import PEER_COPIES, Activity, CollectiveKind, Send
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario
from simdml.strategies.compiler import compile_job
from simdml.strategies.footprint import peak_kept
from simdml.strategies.job import PipelinePlan, Spread
from simdml.strategies.schedules import SCHEDULES

SEQUENCE_PARALLEL = Spread(sequence_parallel=True)
OVERLAPPED = Spread(sequence_parallel=True, tp_overlap=True)
LAYERS = GPT.layers
UNCUT = 6 * HIDDEN  # weights and biases of two norms, and the biases of the two products cut by rows


def per_layer(ways, spread, recompute="none", phases=None):
    """Wire bytes of one more layer, embedding and head cancelling out."""
    longer = replace(GPT, layers=LAYERS + 1)
    mesh = (("tp", ways),)
    plans = {"spread": spread, "recompute": recompute}
    return wire_bytes(program_of(mesh, longer, **plans), "tp", ways) - wire_bytes(program_of(mesh, **plans), "tp", ways)


@pytest.mark.parametrize("ways", [2, 4, 8])
def test_tensor_parallelism_sums_four_activations_a_layer(ways):
    assert per_layer(ways, Spread()) == pytest.approx(4 * 2 * (ways - 1) / ways * SBH_BYTES)


@pytest.mark.parametrize("ways", [2, 4, 8])
@pytest.mark.parametrize("spread", [SEQUENCE_PARALLEL, OVERLAPPED])
def test_sequence_parallelism_moves_as_much_and_gathers_two_inputs_again(ways, spread):
    """An all-reduce becomes a reduce-scatter and an all-gather; gradients of what is whole are summed at the end."""
    share = (ways - 1) / ways
    expected = (4 * 2 + 2) * share * SBH_BYTES + 2 * share * 2 * UNCUT
    assert per_layer(ways, spread) == pytest.approx(expected)


@pytest.mark.parametrize(("spread", "factor"), [(Spread(), 6 * 2), (SEQUENCE_PARALLEL, 6 * 2 + 2)])
def test_full_recomputation_repeats_the_collectives_of_forward(spread, factor):
    uncut = 0 if spread == Spread() else 2 * 3 / 4 * 2 * UNCUT
    assert per_layer(4, spread, "full") == pytest.approx(factor * 3 / 4 * SBH_BYTES + uncut)


def test_selective_recomputation_repeats_no_collective():
    assert per_layer(4, SEQUENCE_PARALLEL, "selective") == per_layer(4, SEQUENCE_PARALLEL)


def test_kinds_of_collectives_and_what_runs_beside_them():
    program = program_of((("tp", 4),), spread=SEQUENCE_PARALLEL)
    found = collectives(program, "tp")
    gathers, scatters = found[CollectiveKind.ALL_GATHER, SBH_BYTES], found[CollectiveKind.REDUCE_SCATTER, SBH_BYTES]
    # Forward 2, backward 2 and 2 again a layer; logits 1 and 1 again; the gradient of the embedding 1.
    assert gathers == 6 * LAYERS + 3
    assert scatters == 4 * LAYERS + 2
    beside = pairs(program)
    assert len(beside) == 2 * (2 * LAYERS + 1)
    assert [pair.collective.kind for pair in beside[:2]] == [CollectiveKind.ALL_GATHER, CollectiveKind.REDUCE_SCATTER]
    names = [pair.kernels[0].operators[0].name for pair in beside[-2:]]
    assert names == ["qkv_input_gradient", "qkv_weight_gradient"]


@pytest.mark.parametrize("spread", [SEQUENCE_PARALLEL, OVERLAPPED])
def test_every_product_is_done_once(spread):
    """A rank does 1/tp of all FLOPs, the loss and embedding too."""
    whole = flops(program_of((("tp", 1),)))
    assert flops(program_of((("tp", 4),), spread=spread)) == pytest.approx(whole / 4)
    assert flops(program_of((("tp", 4),))) == pytest.approx(whole / 4)


def test_parts_move_beside_products_on_the_parts_before():
    """--tp-comm-overlap: a product in tp parts, tp - 1 of them beside a message of a part (Megatron-LM)."""
    ways = 4
    program = program_of((("tp", ways),), spread=OVERLAPPED)
    shifts = [pair for pair in pairs(program) if pair.collective.kind is CollectiveKind.SHIFT]
    products = 4 * LAYERS + 2 * LAYERS + 1  # forward, by rows in backward, logits
    assert len(shifts) == (ways - 1) * products
    assert {pair.collective.payload_bytes for pair in shifts} == {SBH_BYTES / ways}


def test_overlap_hides_what_it_can():
    def step(spread):
        the_job = transformer_job((("tp", 4),), spread=spread)
        prices = costs(the_job.cluster, transports={PEER_COPIES: RingCost(the_job.cluster)})
        return simulate(compile_job(the_job), the_job.cluster, prices).step_time_s

    # The fake costs take a FLOP for a second: messages hide entirely where something is beside them.
    blocking, hidden = step(SEQUENCE_PARALLEL), step(OVERLAPPED)
    ring = 3 / 4 * SBH_BYTES / 1e9
    assert blocking - hidden == pytest.approx((4 * LAYERS + 2 * LAYERS + 1) * ring, rel=1e-3)


def test_stages_hand_on_shards_and_gather_nothing():
    plan = PipelinePlan("1f1b", scatter_gather=False)
    program = program_of((("tp", 4), ("pp", 2)), microbatches=4, spread=SEQUENCE_PARALLEL, pipeline=plan)
    sends = [i for stream in program.classes[0].streams for i in stream.instructions if isinstance(i, Send)]
    assert {send.payload_bytes for send in sends} == {SBH_BYTES / 4}
    labels = {i.label for i in program.classes[1].streams[0].written_out() if hasattr(i, "label")}
    assert not [label for label in labels if label.startswith("gather")]


@pytest.mark.parametrize("half", ["zb_h1", "1f1b"])
def test_halves_of_backward_move_as_much_as_the_whole(half):
    plan = PipelinePlan(half)
    mesh = (("tp", 4), ("pp", 2))
    program = program_of(mesh, microbatches=2, spread=SEQUENCE_PARALLEL, pipeline=plan)
    whole = program_of(mesh, microbatches=2, spread=SEQUENCE_PARALLEL, pipeline=PipelinePlan("gpipe"))
    assert wire_bytes(program, "tp", 4) == wire_bytes(whole, "tp", 4)
    assert flops(program, activity=Activity.BACKWARD) == flops(whole, activity=Activity.BACKWARD)


SBH = SAMPLES * SEQUENCE * HIDDEN
SCORES = SAMPLES * GPT.heads * SEQUENCE**2


@pytest.mark.parametrize("t", [1, 2, 8])
def test_activations_of_a_layer_are_korthikanti_s(t):
    """Table 2 of arXiv 2205.05198; full recomputation keeps 2sbh, or a part of it."""
    model = transformer_job((("tp", t),)).build(SAMPLES)
    layer, before = [model.blocks[1]], model.blocks[0].output_bytes

    def kept(recompute="none", sequence_parallel=False):
        return Keeping(t, recompute, sequence_parallel).microbatch_bytes(layer, before)

    assert kept() == SBH * (10 + 24 / t) + 5 * SCORES / t
    assert kept(sequence_parallel=True) == (34 * SBH + 5 * SCORES) / t
    assert kept("selective") == SBH * (10 + 24 / t)
    assert kept("selective", sequence_parallel=True) == 34 * SBH / t
    assert kept("full") == kept("stage") == 2 * SBH
    assert kept("full", sequence_parallel=True) == 2 * SBH / t


def test_working_sets_of_recomputation():
    """What is alive while backward runs: one layer's scores, one block, or the stage; and a gradient of scores."""
    model = transformer_job((("tp", 1),)).build(SAMPLES)
    layers, block, gradient = list(model.blocks[1:-1]), 34 * SBH + 5 * SCORES, 2 * SCORES
    assert Keeping(1, "none").working_set_bytes(layers) == gradient
    assert Keeping(1, "selective").working_set_bytes(layers) == 5 * SCORES + gradient
    assert Keeping(1, "full").working_set_bytes(layers) == block + gradient
    assert Keeping(1, "stage").working_set_bytes(layers) == LAYERS * block + gradient


def test_logits_pass_beside_what_is_recomputed():
    """At 2 bytes an element Megatron-LM's loss has them twice, at 2 and 4 bytes a logit, divided by tp."""
    head = transformer_job((("tp", 1),)).build(SAMPLES).blocks[-1:]
    logits = head[0].layers[-1].activations[0].bytes / 4
    for ways in (1, 2):
        assert Keeping(ways, "full").working_set_bytes(head) == 6 * logits / ways


def test_what_is_recomputed():
    mesh = (("tp", 1),)
    blocks = flops(program_of(mesh, replace(GPT, layers=5)), activity=Activity.FORWARD)
    forward = flops(program_of(mesh), activity=Activity.FORWARD)
    layer = blocks - forward
    scores = 2 * 2 * SAMPLES * GPT.heads * SEQUENCE**2 * GPT.head_size

    def again(recompute, **plans):
        return flops(program_of(mesh, recompute=recompute, **plans), activity=Activity.RECOMPUTE)

    assert again("none") == 0
    assert again("selective") == LAYERS * scores
    assert again("full") == pytest.approx(LAYERS * layer)
    assert again("stage") == forward
    assert again("stage", microbatches=4) == 4 * forward
    assert again("stage_except_last", microbatches=4) == 3 * forward


@pytest.mark.parametrize(("p", "v"), [(2, 2), (4, 1), (4, 2)])
def test_the_first_stage_keeps_as_much_whatever_the_depth(p, v):
    """sbhL(34 + 5as/h)/t under 1F1B; interleaving multiplies it by 1 + (p-1)/(pv) (arXiv 2205.05198, section 4.2.3)."""
    t, layers, microbatches = 8, 8, 2 * p
    schedule = SCHEDULES["1f1b" if v == 1 else "interleaved_1f1b"]
    model = transformer_job((("tp", t),), replace(GPT, layers=layers)).build(SAMPLES)
    chunk = list(model.blocks[1 : 1 + layers // (p * v)])
    kept = Keeping(t, "none", sequence_parallel=True).microbatch_bytes(chunk, model.blocks[0].output_bytes)
    peak = peak_kept(schedule.actions(0, p, microbatches, v), [kept] * v)
    whole = layers * (34 * SBH + 5 * SCORES) / t
    assert peak == pytest.approx(whole if v == 1 else whole * (1 + (p - 1) / (p * v)))


def test_a_stage_of_the_embedding_alone_has_no_gradients_to_sum():
    job = {
        "cluster": {"name": "dgx_h100", "nodes": 2},
        "model": "llama3_8b",
        "training": {"global_batch": 4, "precision": "bf16", "attention": "flash", "recompute": "full"},
        "strategy": {
            "mesh": {"tp": 8, "pp": 2},
            "tensor_parallel": {"sequence_parallel": True},
            "pipeline": {"schedule": "1f1b", "microbatch": 1, "balance": [0, 1]},
        },
    }
    built = build(load_scenario(job))
    program = built.program()
    made = [[each for stream in rank.streams for each in stream.written_out()] for rank in program.classes]
    summed = [sum(getattr(each, "label", "") == "sequence-parallel gradients" for each in rank) for rank in made]
    assert summed == [0, 1]
    assert simulate(program, built.job.cluster, built.costs).step_time_s > 0
