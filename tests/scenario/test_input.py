"""Training data on their way to the GPUs: rates in closed form, what is hidden and what is not, refusals."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simdml
import simdml.reporting.headline
from simdml.errors import DocumentError, InfeasibleError

SAMPLE_BYTES, DEVICE_BYTES = 100e3, 600e3
LAYERS = [
    {"name": f"layer{number}", "kind": "linear", "inputs": 2048, "outputs": 2048, "rows": 64} for number in range(4)
]


def job(nodes=1, gpus=2, batch=16, cores=48, **changes):
    scenario = {
        "cluster": {"name": "pcie_8gpu_25gbe", "nodes": nodes, "node.gpus.count": gpus, "node.cpu.cores": cores},
        "model": {"name": "layers", "layers": LAYERS},
        "training": {"batch_per_gpu": batch, "dispatch": "graph"},
        "strategy": "ddp",
    }
    return scenario | changes


def fed(**changes):
    return {
        "loader_workers": 4,
        "sample": f"{SAMPLE_BYTES} B",
        "on_device": f"{DEVICE_BYTES} B",
        "pin_memory": True,
        "non_blocking": True,
    } | changes


ALONE, LONE = simdml.run(job()), simdml.run(job(gpus=1))


@pytest.mark.parametrize("decode", [20.0, 60.0, 2000.0])
@pytest.mark.parametrize("per_node", [30e6, 300e6])
def test_throughput_is_that_of_the_slowest_stage(decode, per_node):
    section = fed(decode=f"{decode} samples/s", storage={"per_node": f"{per_node} B/s"})
    result = simdml.run(job(input=section))
    limits = {
        "nothing": ALONE.samples_per_s,
        "decode": 2 * 4 * decode,
        "storage": per_node / SAMPLE_BYTES,
    }
    slowest = min(limits, key=limits.get)
    assert result.samples_per_s == pytest.approx(limits[slowest], rel=2e-3)
    assert result.input.binding == slowest
    assert sum(result.breakdown.values()) == pytest.approx(result.step_time_s)


def test_workers_decode_on_the_cores_there_are():
    section = fed(loader_workers=16, decode="20 samples/s per worker")
    assert simdml.run(job(cores=10, input=section)).samples_per_s == pytest.approx(10 * 20, rel=1e-3)
    assert simdml.run(job(cores=10, input=section | {"loader_workers": 3})).samples_per_s == pytest.approx(6 * 20)


def test_all_nodes_share_the_storage():
    section = fed(storage={"per_node": "40 MB/s", "total": "60 MB/s"})
    assert simdml.run(job(nodes=1, input=section)).samples_per_s == pytest.approx(40e6 / SAMPLE_BYTES, rel=1e-3)
    assert simdml.run(job(nodes=3, input=section)).samples_per_s == pytest.approx(60e6 / SAMPLE_BYTES, rel=1e-3)


def test_storage_over_the_network_is_as_fast_as_the_nic():
    cluster = {"name": "pcie_8gpu_25gbe", "nodes": 2, "node.gpus.count": 2}
    section = fed(storage={"total": "1 TB/s", "over_network": True}, sample="20 MB")
    result = simdml.run(job(cluster=cluster, input=section))
    nic = next(load for load in result.links if load.kind == "nic")
    # Two nodes of one 25 Gb/s port, of which 94 % are payload; gradients of 64 MiB come in beside.
    read = 2 * 16 * 20e6
    assert nic.bytes_per_step > read
    assert result.step_time_s == pytest.approx(nic.bytes_per_step / (25e9 / 8 * 0.94), rel=0.01)
    assert result.input.binding == "storage"
    apart = simdml.run(job(cluster=cluster, input=section | {"storage": {"total": "1 TB/s"}}))
    assert apart.step_time_s < result.step_time_s


def test_what_is_cached_is_not_read():
    slow = fed(storage={"per_node": "1 MB/s"})
    assert simdml.run(job(input=slow | {"cached": True})).step_time_s == pytest.approx(ALONE.step_time_s, rel=1e-3)


def test_deep_buffers_hide_every_latency_and_shallow_ones_do_not():
    alone = simdml.run(job(gpus=1))
    compute, batch = alone.step_time_s, 16
    stage = 0.4 * compute
    section = fed(
        decode=f"{batch / stage} samples/s",
        storage={"per_node": f"{batch * SAMPLE_BYTES / stage} B/s"},
        loader_workers=1,
    )
    deep = simdml.run(job(gpus=1, input=section | {"prefetch": 4}))
    assert deep.step_time_s == compute
    assert deep.input.binding == "nothing"
    in_turn = simdml.run(job(gpus=1, input=section | {"loader_workers": 0, "non_blocking": False}))
    copied = in_turn.input.stage_s["copy"]
    assert in_turn.step_time_s == pytest.approx(compute + 2 * stage + copied, rel=1e-3)
    assert in_turn.input.binding == "in turn"


def test_one_batch_ahead_is_loaded_while_one_is_trained():
    compute, batch = simdml.run(job(gpus=1)).step_time_s, 16
    load = 1.5 * compute
    section = fed(decode=f"{batch / load} samples/s", loader_workers=1, prefetch=1, non_blocking=False)
    result = simdml.run(job(gpus=1, input=section))
    # The next batch is begun when this one was taken, before it is copied and trained.
    assert result.step_time_s == pytest.approx(load, rel=1e-3)


def dataloader(workers, prefetch, batch_s, step_s, batches=400):
    """Return the mean step of a loop over torch's DataLoader: workers make whole batches in turn, taken in order.

    A worker is handed its next batch whenever one of the batches under way, ``workers x prefetch``, is taken
    (torch/utils/data/dataloader.py, _try_put_index and _next_data).
    """
    ready, taken, free = [], [], [0.0] * workers
    trained = 0.0
    for batch in range(batches):
        handed = taken[batch - workers * prefetch] if batch >= workers * prefetch else 0.0
        free[batch % workers] = max(free[batch % workers], handed) + batch_s
        ready.append(free[batch % workers])
        taken.append(max(ready[batch], trained))
        trained = taken[batch] + step_s
    return (taken[-1] - taken[batches // 2]) / (batches - 1 - batches // 2)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 3), st.floats(0.1, 10))
def test_steps_are_as_long_as_over_a_dataloader(workers, prefetch, load):
    compute, batch = LONE.step_time_s, 16
    batch_s = load * compute
    section = fed(loader_workers=workers, prefetch=prefetch, decode=f"{batch / batch_s} samples/s")
    result = simdml.run(job(gpus=1, input=section))
    # Workers in step with each other make bursts, whose ends are a part of the window.
    assert result.step_time_s == pytest.approx(dataloader(workers, prefetch, batch_s, compute), rel=0.03)


def test_a_copy_among_the_kernels_is_not_hidden():
    alone = simdml.run(job(gpus=1))
    result = simdml.run(job(gpus=1, input=fed(non_blocking=False)))
    copy = result.input.stage_s["copy"]
    assert copy > 16 * DEVICE_BYTES / 20e9
    # While it copies, the first kernels are launched.
    launched = alone.breakdown["launch"]
    assert alone.step_time_s + copy - launched <= result.step_time_s <= alone.step_time_s + copy
    assert result.input.binding == "copy"
    assert simdml.run(job(gpus=1, input=fed())).step_time_s == alone.step_time_s


def test_jitter_is_what_deep_buffers_are_for():
    compute = simdml.run(job(gpus=1)).step_time_s
    section = fed(decode=f"{16 / compute} samples/s", loader_workers=1, non_blocking=False)
    jitter = {"faults": [{"jitter": "lognormal", "cv": 0.5}], "simulate": {"steps": 400}}
    times = [simdml.run(job(gpus=1, input=section | {"prefetch": each}, **jitter)).step_time_s for each in (1, 2, 16)]
    assert times[0] > times[1] > times[2] > compute


@pytest.mark.parametrize(
    "strategy",
    [
        "fsdp2",
        "zero3",
        "gpipe",
        "pipedream",
        "layer_placement",
        "parameter_server",
        {"parameter_server": {"consistency": "asynchronous"}},
        {"mesh": {"pp": 2, "tp": 1}, "pipeline": {"microbatch": 4}},
    ],
    ids=str,
)
def test_every_strategy_is_fed(strategy):
    training = {"batch_per_gpu": 16}
    if strategy in ("gpipe", "pipedream") or "mesh" in strategy:
        training = {"global_batch": 32, "microbatch": 4}
    if strategy == "layer_placement":
        training = {"global_batch": 16}
    base = job(nodes=2, gpus=2, training=training, strategy=strategy)
    if strategy in ("gpipe", "pipedream", "layer_placement"):
        base["gpus"] = 4
    slow = simdml.run(base | {"input": fed(storage={"total": "2 MB/s"})})
    assert slow.samples_per_s == pytest.approx(2e6 / SAMPLE_BYTES, rel=0.05)
    assert slow.input.binding == "storage"


def test_ranks_without_data_of_their_own_wait_for_those_that_load():
    replicas = {"parameter_server": {"preset": "downpour", "model_parallel": 2}}
    base = job(nodes=2, gpus=2, strategy=replicas, input=fed(storage={"total": "1 MB/s"}))
    result = simdml.run(base | {"training": {"global_batch": 16}})
    assert result.input.binding == "storage"


def test_folding_and_coarsening_change_nothing():
    section = fed(decode="60 samples/s", storage={"per_node": "60 MB/s", "total": "100 MB/s"})
    base = job(nodes=2, gpus=4, input=section)
    folded, unfolded = simdml.run(base), simdml.run(base | {"simulate": {"fold": False}})
    assert folded.step_time_s == unfolded.step_time_s
    assert folded.breakdown == unfolded.breakdown


def test_results_say_what_training_waits_for():
    result = simdml.run(job(input=fed(decode="20 samples/s")))
    assert json.dumps(result.to_dict()["input"])
    rows = dict(simdml.reporting.headline.headline(result))
    assert rows["waits for data"].endswith("for decoding, 160 images/s at most")
    assert rows["training alone"] != rows["throughput"]


def test_tokens_have_a_size_of_their_own():
    base = {
        "cluster": {"name": "dgx_a100", "nodes": 1},
        "model": "gpt2",
        "training": {"batch_per_gpu": 2, "sequence": 512, "precision": "bf16"},
        "input": {"loader_workers": 1},
    }
    result = simdml.run(base)
    assert result.input_plan.copied_bytes == 2 * 512 * 16


@pytest.mark.parametrize(
    ("section", "error", "words"),
    [
        (fed(pin_memory=False), InfeasibleError, "pageable"),
        (fed(loader_workers=0), InfeasibleError, "without loader workers"),
        ({"storage": {}}, DocumentError, "needs a rate"),
        ({"decode": "150"}, DocumentError, "bare number"),
        ({"loader_worker": 3}, DocumentError, "loader_workers"),
        ({"decode": "10 samples/s"}, InfeasibleError, "on_device"),
    ],
)
def test_refused_with_what_would_do(section, error, words):
    with pytest.raises(error, match=words):
        simdml.run(job(input=section))


def test_sensitivity_finds_what_binds_the_input():
    slow = simdml.sensitivity(job(input=fed(decode="20 samples/s", storage={"per_node": "1 GB/s"})))
    rows = {each.knob.key: each for each in slow.effects}
    assert {"storage", "decoding"} <= set(rows)
    assert slow.effects[0].knob.key == "decoding"
