"""Pipelines against published runs. No coefficient was fitted on any of these rows.

Zero Bubble: every system's own way with messages; one order of 15 is lost by 0.9 %. torchgpipe and PyTorch's tutorial:
ratios, as no kernel of the P40 was measured and the tutorial's GPU is not stated.
"""

import json
from itertools import accumulate, pairwise

import pytest

from simdml.engine.simulator import simulate
from simdml.resources import find
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario
from simdml.scenario.simulate import run

# Qi et al., Zero Bubble Pipeline Parallelism, ICLR 2024, arXiv 2401.10241, tables 3 and 4: model, micro-batches, then
# seconds a step (from the printed samples per GPU and second) and GB at the peak of the fullest GPU, by schedule.
ZERO_BUBBLE = {
    ("1_5b", 24): {"1f1b_i": (1.37405, 40)},
    ("1_5b", 32): {"1f1b": (1.92, 30), "1f1b_i": (1.79104, 40), "zb_1p": (1.79104, 32)},
    ("1_5b", 64): {"1f1b_i": (3.45324, 40), "zb_1p": (3.38028, 32), "zb_2p": (3.22148, 59)},
    ("6_2b", 24): {"1f1b": (2.57143, 39), "1f1b_i": (2.24439, 48), "zb_2p": (2.08333, 70)},
    ("6_2b", 32): {"1f1b": (3.24324, 39)},
    ("14_6b", 48): {"1f1b": (2.14286, 32), "zb_1p": (1.86335, 33), "zb_2p": (1.65746, 51)},
    ("14_6b", 64): {"1f1b": (2.68456, 32), "1f1b_i": (2.51572, 39), "zb_1p": (2.39521, 33)},
    ("14_6b", 128): {"1f1b": (4.87805, 32), "zb_1p": (4.54545, 33), "zb_2p": (4.32432, 51)},
    ("28_3b", 96): {"1f1b_i": (3.65854, 58)},
    ("28_3b", 128): {"1f1b": (5.0, 43), "1f1b_i": (4.70588, 58), "zb_1p": (4.44444, 44), "zb_2p": (4.0, 74)},
    ("28_3b", 256): {"zb_1p": (8.33333, 44), "zb_2p": (8.0, 74)},
}
SCHEDULES = {"1f1b": "1f1b", "1f1b_i": "interleaved_1f1b", "zb_1p": "zb_h1", "zb_2p": "zb_h2"}
# micro-batch, and layers on a stage: the chunks of 1F1B-I, one layer each
SIZES = {"1_5b": (6, 3), "6_2b": (3, 4), "14_6b": (1, 3), "28_3b": (1, 2)}
ROWS = [(model, m, name) for (model, m), rows in ZERO_BUBBLE.items() for name in rows]


@pytest.fixture(scope="module")
def zero_bubble():
    found = {}
    for model, m, name in ROWS:
        microbatch, layers = SIZES[model]
        pipeline = {"schedule": SCHEDULES[name]} | ({"chunks": layers} if name == "1f1b_i" else {})
        changes = {"training": {"global_batch": m * microbatch}, "strategy": {"pipeline": pipeline}}
        found[model, m, name] = predicted(f"zero_bubble/gpt_{model}", changes)
    return found


def predicted(name, changes=None):
    """Return seconds a step and the fullest GPU's GiB of tensors; no accounts, which take as long as the simulation."""
    built = build(load_scenario(name, changes=changes))
    seconds = simulate(built.program(), built.job.cluster, built.costs).step_time_s
    return seconds, max(estimate.total - estimate.overhead for estimate in built.memory()) / 2**30


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_zero_bubble_step_times_within_12_percent(zero_bubble, row):
    model, m, name = row
    seconds, _ = ZERO_BUBBLE[model, m][name]
    assert zero_bubble[row][0] == pytest.approx(seconds, rel=0.12)


LOST = pytest.mark.xfail(
    strict=True,
    reason="interleaved 1F1B, whose messages overlap in Megatron-LM, is predicted 0.9 % ahead of ZB-1p, not 2 % behind",
)


@pytest.mark.parametrize(
    "configuration",
    [pytest.param(each, marks=LOST) if each == ("1_5b", 64) else each for each in ZERO_BUBBLE],
    ids=str,
)
def test_zero_bubble_order_in_every_configuration(zero_bubble, configuration):
    """Equal printed times (1F1B-I and ZB-1p of the smallest model) may come in either order."""
    measured = ZERO_BUBBLE[configuration]
    for slower, faster in pairwise(sorted(measured, key=lambda name: -measured[name][0])):
        if measured[slower][0] > measured[faster][0]:
            assert zero_bubble[*configuration, slower][0] > zero_bubble[*configuration, faster][0]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_zero_bubble_memory_within_10_percent(zero_bubble, row):
    """The paper's GB are those of the allocator, without context and communication buffers."""
    model, m, name = row
    _, gigabytes = ZERO_BUBBLE[model, m][name]
    assert zero_bubble[row][1] == pytest.approx(gigabytes, rel=0.1)


# kakaobrain/torchgpipe, benchmarks/resnet101-speed and unet-speed: images/s on P40.
TORCHGPIPE = {
    "baseline": 95.862,
    "pipeline_1": 81.796,
    "pipeline_2": 135.539,
    "pipeline_4": 265.958,
    "pipeline_8": 411.662,
    "unet_baseline": 28.5,
    "unet_pipeline_1": 24.456,
    "unet_pipeline_2": 35.502,
    "unet_pipeline_4": 67.042,
    "unet_pipeline_8": 88.497,
}


@pytest.fixture(scope="module")
def torchgpipe():
    images = {name: build(load_scenario(f"torchgpipe/{name}")).job.global_batch for name in TORCHGPIPE}
    return {name: images[name] / predicted(f"torchgpipe/{name}")[0] for name in TORCHGPIPE}


@pytest.mark.parametrize("name", [name for name in TORCHGPIPE if not name.endswith("baseline")])
@pytest.mark.parametrize("reference", ["baseline", "pipeline_1"])
def test_torchgpipe_speed_up_within_15_percent(torchgpipe, name, reference):
    """Over one GPU without a pipeline, and over one partition."""
    reference = f"unet_{reference}" if name.startswith("unet") else reference
    measured = TORCHGPIPE[name] / TORCHGPIPE[reference]
    assert torchgpipe[name] / torchgpipe[reference] == pytest.approx(measured, rel=0.15)


# kakaobrain/torchgpipe, benchmarks/amoebanetd-speed: by partitions and micro-batches, images/s, the batch, and the
# cells of each partition. With one micro-batch everything is computed again (checkpoint="always").
AMOEBANET = {
    (2, 1): (26.733, 96, (7, 17)),
    (2, 4): (41.133, 256, (9, 15)),
    (2, 32): (47.386, 1280, (9, 15)),
    (4, 1): (26.827, 160, (3, 4, 5, 12)),
    (4, 4): (44.543, 360, (3, 6, 7, 8)),
    (4, 32): (72.412, 1152, (3, 6, 7, 8)),
    (8, 1): (24.918, 196, (2, 2, 2, 2, 2, 3, 4, 7)),
    (8, 4): (70.065, 480, (2, 2, 2, 3, 3, 4, 4, 4)),
    (8, 32): (132.413, 1280, (2, 2, 2, 3, 3, 4, 4, 4)),
}
FASTER = pytest.mark.xfail(
    strict=True,
    reason="predicted 28 % faster: against 32 micro-batches it lost as much as 4.2 equal stages would; there are 4",
)


@pytest.fixture(scope="module")
def amoebanet():
    found = {}
    for (partitions, microbatches), (_, batch, cells) in AMOEBANET.items():
        training = {"global_batch": batch, "recompute": "stage" if microbatches == 1 else "stage_except_last"}
        pipeline = {"microbatch": batch // microbatches, "balance": [0, *accumulate(cells[:-1])]}
        changes = {"training": training, "strategy": {"pipeline": pipeline}}
        built = build(load_scenario(f"torchgpipe/amoebanet_{partitions}", changes=changes))
        assert all(estimate.fits for estimate in built.memory())
        seconds = simulate(built.program(), built.job.cluster, built.costs).step_time_s
        found[partitions, microbatches] = batch / seconds
    return found


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=FASTER) if row == (4, 4) else row for row in AMOEBANET], ids=str
)
def test_amoebanet_speed_within_15_percent(amoebanet, row):
    """Images/s, and the speed-up that the page prints: over two partitions and one micro-batch."""
    speed, two = AMOEBANET[row][0], AMOEBANET[2, 1][0]
    assert amoebanet[row] == pytest.approx(speed, rel=0.15)
    assert amoebanet[row] / amoebanet[2, 1] == pytest.approx(speed / two, rel=0.15)


# pytorch/tutorials, intermediate_source/model_parallel_tutorial.py: seconds for three batches of 120 images.
TUTORIAL = {"single": 3.75, "layer_placement": 4.02, "pipeline": 2.51}


MISSED = pytest.mark.xfail(
    strict=True,
    reason="predicted 13.3 % too long: convolutions of 20 images are priced 25 % dearer an image than those of 120, by "
    "a K80's profile that holds from 32 images of 224 pixels on, and the tutorial's GPU is not stated; its own fastest "
    "split is of 12 images. Convolutions measured on P100 and V100 cost more than predicted where tiles are few",
)


@pytest.mark.parametrize("name", ["layer_placement", pytest.param("pipeline", marks=MISSED)])
def test_pytorch_model_parallel_tutorial(name):
    """Times of two GPUs over that of one."""
    one, _ = predicted("pytorch_model_parallel/single")
    found, _ = predicted(f"pytorch_model_parallel/{name}")
    assert found / one == pytest.approx(TUTORIAL[name] / TUTORIAL["single"], rel=0.12)


# Korthikanti et al., arXiv 2205.05198, table 4: ms of forward and backward of one layer of the 22B model on 8 A100, by
# recomputation and sequence parallelism.
LAYER_OF_22B = {
    ("none", False): 19.6,
    ("none", True): 19.0,
    ("full", False): 27.2,
    ("selective", False): 20.9,
    ("selective", True): 20.3,
}


@pytest.mark.parametrize(("recompute", "sequence_parallel"), LAYER_OF_22B)
def test_a_layer_of_22b_within_3_percent(recompute, sequence_parallel, tmp_path):
    def step_s(layers):
        bundled = find("scenarios", "gpt_22b_sequence_parallel").parent / "configs" / "gpt_22b.json"
        config = json.loads(bundled.read_text(encoding="utf-8"))
        (tmp_path / "config.json").write_text(json.dumps(config | {"n_layer": layers}))
        changes = {
            "model": {"config": str(tmp_path / "config.json")},
            "training": {"recompute": recompute},
            "strategy": {"tensor_parallel": {"sequence_parallel": sequence_parallel}},
        }
        result = run("gpt_22b_sequence_parallel", **changes)
        return result.step_time_s - result.breakdowns[0].seconds["optimizer"]

    layer_s = (step_s(4) - step_s(2)) / 2
    assert layer_s * 1e3 == pytest.approx(LAYER_OF_22B[recompute, sequence_parallel], rel=0.03)
