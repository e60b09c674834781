"""Rows of torchgpipe's and ByteScheduler's published runs as scenarios."""

import csv

import pytest

from simdml.cli.main import main
from simdml.scenario.building import build
from simdml.scenario.loading import load_scenario
from simdml.validation.runs.classic import classic_scenario
from simdml.validation.runs.llm import llm_scenario
from simdml.validation.runs.omitted import completed
from simdml.validation.runs.reading import Row, Unusable

# kakaobrain/torchgpipe, benchmarks/resnet101-speed, unet-speed and amoebanetd-speed
TORCHGPIPE = {
    "gpu": "Tesla P40",
    "gpus_per_node": "8",
    "framework": "torchgpipe 0.0.5, PyTorch 1.3.0, CUDA 10.1",
    "strategy": "pipeline (GPipe)",
    "dtype": "fp32",
    "derived_step_time_s": "1",
    "simulate_ready": "yes",
}
MODELS = {
    "resnet": "ResNet-101 (flattened nn.Sequential of 370 layers)",
    "unet": "U-Net (depth 5, num_convs 5, base_channels 64)",
    "amoebanet": "AmoebaNet-D (18, 256)",
}


def row(model, partitions, images, chunks, balance, checkpoint="except_last", experiment=""):
    notes = f"{experiment}; balance (layers per partition) [{balance}]; checkpoint={checkpoint}"
    cells = {"model": MODELS[model], "num_gpus": partitions, "pipeline_partitions": partitions, "micro_batches": chunks}
    return Row("classic", "runs.csv", 2, TORCHGPIPE | cells | {"global_batch": images, "notes": notes})


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("pipeline_1", ("resnet", "1", "220", "2", "370")),
        ("pipeline_2", ("resnet", "2", "25000", "1667", "135, 235")),
        ("pipeline_4", ("resnet", "4", "5632", "256", "44, 92, 124, 110")),
        ("pipeline_8", ("resnet", "8", "5400", "150", "26, 22, 33, 44, 44, 66, 66, 69")),
        ("unet_pipeline_2", ("unet", "2", "512", "32", "104, 137")),
        ("unet_pipeline_4", ("unet", "4", "512", "16", "30, 66, 84, 61")),
        ("unet_pipeline_8", ("unet", "8", "640", "40", "16, 27, 31, 44, 22, 57, 27, 17")),
        ("amoebanet_8", ("amoebanet", "8", "1280", "32", "2, 2, 2, 3, 3, 4, 4, 4")),
    ],
)
def test_a_row_of_torchgpipe_is_the_bundled_scenario(name, cells):
    found, bundled = build(load_scenario(classic_scenario(row(*cells)))).job, load_scenario(f"torchgpipe/{name}")
    bundled = build(bundled).job
    assert found.pipeline == bundled.pipeline
    assert found.training == bundled.training
    assert found.global_batch == bundled.global_batch


def test_recomputation_is_as_the_notes_say():
    always = classic_scenario(row("amoebanet", "2", "96", "1", "7, 17", checkpoint="always"))
    assert always["training"]["recompute"] == "stage"


def test_runtimes_without_a_part_are_left_out():
    with pytest.raises(Unusable, match="switched off"):
        classic_scenario(row("unet", "4", "128", "8", "34, 76, 70, 61", experiment="experiment dep-x-x; ablation"))


def bytescheduler(**changes):
    cells = {
        "source": "bytedance/byteps branch bytescheduler bytescheduler/docs/mxnet_ps_rdma_vgg16_sync.png + README.md",
        "gpu": "V100-PCIe",
        "gpus_per_node": "8",
        "num_gpus": "16",
        "inter_link": "100 Gb/s RoCE-capable RDMA",
        "framework": "MXNet PS + ByteScheduler",
        "strategy": "ps_sync",
        "model": "VGG16",
        "dtype": "fp32 (not stated)",
        "images_or_samples_per_s_total": "1511",
        "simulate_ready": "partial (batch, PS count not stated)",
    }
    return Row("classic", "runs.csv", 2, cells | changes)


def test_what_a_source_says_elsewhere_is_filled_in():
    found = completed(bytescheduler())
    assert found.measured_s == pytest.approx(16 * 32 / 1511)
    job = build(load_scenario(classic_scenario(found))).job
    assert job.global_batch == 16 * 32


def test_nothing_is_filled_in_where_a_source_does_not_say_it():
    transformer = bytescheduler(model="Transformer")
    assert completed(transformer) is transformer
    with pytest.raises(Unusable, match="not say enough"):
        classic_scenario(transformer)


def test_zero_bubbles_vocabulary_gives_the_parameters_it_prints():
    """Qi et al., arXiv 2401.10241, table 3: 14.6 billion; GPT-2's vocabulary would make 14.7."""
    stated = {"source": "Zero Bubble Pipeline Parallelism (ICLR 2024) Tables 3-4", "gpu": "A100-80GB-SXM"}
    shape = {"layers": "46", "hidden": "5120", "heads": "40", "seq_len": "1024", "global_batch_seqs": "48"}
    rest = {"num_gpus": "16", "pp": "16", "micro_batch": "1", "iter_time_s": "1"}
    found = completed(Row("llm", "runs.csv", 2, stated | shape | rest))
    job = build(load_scenario(llm_scenario(found))).job
    assert round(job.build(1).parameter_count / 1e9, 1) == 14.6


def test_exported_scenarios_have_it_too(tmp_path):
    table, folder = tmp_path / "table.csv", tmp_path / "scenarios"
    cells = bytescheduler(id="vgg", batch_per_gpu="").cells
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(cells))
        writer.writeheader()
        writer.writerow(cells)
    with pytest.raises(SystemExit) as ended:
        main(["validate", str(table), "--jobs", "1", "--export-scenarios", str(folder)])
    assert ended.value.code == 0
    assert build(load_scenario(str(folder / "vgg.yaml"))).job.global_batch == 16 * 32


def test_one_node_needs_no_servers():
    with pytest.raises(Unusable, match="one node"):
        classic_scenario(completed(bytescheduler(num_gpus="8")))


def test_images_a_second_are_a_step_time_where_there_is_no_other():
    assert bytescheduler(batch_per_gpu="32", derived_step_time_s="2").measured_s == 2
    assert bytescheduler().measured_s is None
