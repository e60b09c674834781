"""Every schedule's bundled scenario runs, and they stand to each other as their papers say."""

import pytest

import simdml
from simdml.errors import InfeasibleError
from simdml.resources import available
from simdml.strategies.schedules import SCHEDULES

NAMES = [name for name in available("scenarios") if name.startswith("schedules/")]


@pytest.fixture(scope="module")
def steps():
    names = [*NAMES, "gpt2_xl_gpipe", "gpt2_xl_1f1b"]
    return {name.rsplit("/", maxsplit=1)[-1].removeprefix("gpt2_xl_"): simdml.run(name) for name in names}


def test_every_schedule_has_a_scenario(steps):
    assert set(steps) == {*SCHEDULES, "order_table"}
    for name, result in steps.items():
        assert result.periodic or name == "pipedream"
        assert all(estimate.fits for estimate in result.memory)


def test_step_times_are_in_the_order_of_their_bubbles(steps):
    seconds = {name: result.step_time_s for name, result in steps.items()}
    assert seconds["interleaved_1f1b"] < seconds["1f1b"]
    assert seconds["zb_v"] < seconds["zb_h2"] < seconds["zb_h1"] < seconds["1f1b"]
    assert seconds["dual_pipe"] < seconds["dual_pipe_v"] < seconds["1f1b"]
    assert seconds["pipedream_2bw"] < seconds["1f1b"]


def test_activations_are_in_the_order_of_the_live_micro_batches(steps):
    first = {name: result.memory[0].activations for name, result in steps.items()}
    assert first["1f1b"] == first["zb_h1"] == first["pipedream_2bw"]
    assert first["1f1b"] < first["interleaved_1f1b"] < first["gpipe"] == first["looped_bfs"]
    assert first["1f1b"] < first["zb_h2"] == first["order_table"] < first["gpipe"]


def test_weights_are_kept_in_as_many_versions_and_copies_as_the_schedule_needs(steps):
    kept = {name: [estimate.parameters for estimate in result.memory] for name, result in steps.items()}
    assert kept["pipedream_2bw"] == [2 * each for each in kept["1f1b"]]
    assert kept["dual_pipe"] == [near + far for near, far in zip(kept["1f1b"], kept["1f1b"][::-1], strict=True)]


def test_pipedream_beats_1f1b_on_vgg_by_its_bubble(steps):
    flushing = simdml.run("schedules/pipedream", strategy={"pipeline": {"schedule": "1f1b", "overlap_p2p": True}})
    assert steps["pipedream"].step_time_s < flushing.step_time_s


def test_a_tied_embedding_cannot_be_updated_stage_by_stage():
    with pytest.raises(InfeasibleError, match=r"(?s)shares its embedding.*pipedream_2bw"):
        simdml.run("gpt2_xl_gpipe", strategy={"pipeline": {"schedule": "pipedream"}})


def test_layers_that_do_not_divide_into_the_chunks_of_a_v_are_refused():
    with pytest.raises(InfeasibleError, match=r"(?s)48 layers of gpt2_xl do not divide into 10 stages.*divisor of 48"):
        simdml.run("schedules/zb_v", gpus=5, strategy={"mesh": {"pp": 5}})
