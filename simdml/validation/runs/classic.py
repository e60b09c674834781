"""Rows of images, BERT and parameter servers into scenarios."""

from __future__ import annotations

import re
from typing import Any, Final

from simdml.validation.runs.generations import profile_of_images
from simdml.validation.runs.hardware import cluster_of, machine_of
from simdml.validation.runs.layouts import layout_of
from simdml.validation.runs.pipelines import is_pipeline, pipeline_strategy, pipeline_training
from simdml.validation.runs.reading import Row, Unusable

Scenario = dict[str, Any]

_MODELS: Final = (
    (r"^resnet-?50\b", "resnet50"),
    (r"^resnet-?101\b", "resnet101"),
    (r"^resnet-?152\b", "resnet152"),
    (r"^inception-?v3\b", "inception_v3"),
    (r"^vgg-?16\b", "vgg16"),
    (r"^alexnet\b", "alexnet"),
    (r"^u-net \(depth 5, num_convs 5", "unet"),
    (r"^amoebanet-d \(18, 256\)", "amoebanet_d"),
    (r"^bert-base pre-?training", "bert_base"),
    (r"^bert-large pre-?training", "bert_large"),
)
_PIECES: Final = re.compile(r"^GPT (\d+) layers hidden (\d+)$")
_LAYOUT: Final = re.compile(r"^dp(\d+) tp(\d+) pp(\d+)$")
_BERT_SEQUENCE: Final = 128
"""Phase 1 of BERT's pre-training, where a row does not say (NVIDIA DeepLearningExamples)."""


def classic_scenario(row: Row) -> Scenario:
    """Return the scenario of a row; raises Unusable with the reason why there is none."""
    ready = row.text("simulate_ready")
    if ready.startswith(("partial", "ratio", "no")):
        raise Unusable(f"its source does not say enough: {ready}")
    if row.measured_s is None:
        raise Unusable("no measured step time")
    if match := _PIECES.match(row.text("model")):
        return _gpt(row, int(match[1]), int(match[2]))
    model = _model(row)
    pipeline = is_pipeline(row)
    training = pipeline_training(row) if pipeline else _training(row)
    profile = None if row.has("model", "bert") else profile_of_images(row, training["precision"])
    return {
        "description": f"{row.name}: {row.text('model')} on {row.text('num_gpus')} {row.text('gpu')}",
        **cluster_of(row),
        "model": model,
        "training": training,
        "strategy": pipeline_strategy(row, str(model)) if pipeline else _strategy(row),
        **({"profile": profile} if profile else {}),
    }


def _model(row: Row) -> str | dict[str, Any]:
    name = row.text("model").lower()
    found = next((model for pattern, model in _MODELS if re.search(pattern, name)), None)
    if found is None:
        raise Unusable(f"no model like {row.text('model')!r} is known")
    if found.startswith("bert"):
        if row.has("framework", "paddlepaddle"):
            # PaddlePaddle's example fuses attention and drops padding (unpad): at the length of the table, its half
            # precision on A100 would compute 285 of 312 TFLOP/s.
            raise Unusable("sequences without their padding, whose lengths are not stated")
        sequence = _sequence(row)
        model: dict[str, Any] = {"name": found, "sequence": sequence}
        if not row.has("framework", "pytorch", "torch"):
            # The original BERT and its descendants gather the masked positions before they compute logits, 20 of 128 or
            # 80 of 512 (google-research/bert, README: max_predictions_per_seq); Hugging Face and NVIDIA's PyTorch
            # example of 2019 compute those of every position.
            model["predictions"] = 80 if sequence > 128 else 20
        return model
    return found


def _training(row: Row) -> dict[str, Any]:
    accumulation = row.count("grad_accum", 1)
    batch = row.count("batch_per_gpu")
    training: dict[str, Any] = {
        "batch_per_gpu": batch * accumulation,
        "precision": _precision(row),
        "optimizer": _optimizer(row),
    }
    if training["optimizer"] in ("lamb", "bert_adam"):
        # Apex's in PyTorch and MXNet's own; an operation each in TensorFlow 1; TensorFlow 2's with XLA.
        training["fused_optimizer"] = not row.has("framework", "tensorflow1", "tensorflow 1.")
    if row.has("model", "bert") and row.has("notes", "without xla"):
        training["kernels"] = "operations"
    if accumulation > 1:
        training["microbatch"] = batch
    if not row.has("framework", "pytorch", "torch"):
        # TensorFlow, MXNet, MindSpore and PaddlePaddle build a graph first and run it in C++.
        training["dispatch"] = "graph"
    if row.has("framework", "mxnet 0.", "mxnet 1.0", "mxnet 1.1", "mxnet 1.2"):
        training |= {"dispatch": "mxnet", "fused_optimizer": True}
    elif row.has("framework", "tensorflow"):
        training["dispatch"] = "tensorflow"
    if row.has("dtype", "amp", "mixed"):
        training["autocast"] = True
    return training | (layout_of(row) if training["precision"] == "fp16" and not row.has("model", "bert") else {})


def _optimizer(row: Row) -> str:
    if not row.has("model", "bert"):
        return "sgd_momentum"
    if row.has("framework", "dle"):
        return "lamb"
    return "adam" if row.has("framework", "pytorch", "torch") else "bert_adam"


def _precision(row: Row) -> str:
    text = row.text("dtype").lower()
    ampere = machine_of(row).device.startswith(("a100", "h100", "h200", "b200", "a6000", "a10"))
    if "fp16" in text or "mixed" in text:
        return "fp16"
    if "bf16" in text:
        return "bf16"
    if "tf32" in text and (ampere or not text.startswith("fp32")):
        return "tf32"
    if "fp32" in text:
        # TensorFlow 1.15 runs on Ampere as NVIDIA's alone, which computes in TF32; TensorFlow 2 does since 2.4.
        return "tf32" if ampere and row.has("framework", "tensorflow 1.15", "tensorflow 2.4") else "fp32"
    raise Unusable(f"dtype {row.text('dtype')!r} is none that simdml has")


def _is_server(row: Row) -> bool:
    return row.text("strategy").startswith(("ps_", "async"))


def _strategy(row: Row) -> str | dict[str, Any]:
    strategy = row.text("strategy").lower()
    if row.count("num_gpus") == 1 or strategy == "single":
        return "ddp"
    if _is_server(row):
        return _servers(row)
    if "pipeline" in strategy or "no nccl" in strategy or "model_parallel" in strategy:
        raise Unusable(f"strategy {row.text('strategy')!r}: not mapped to one of simdml's")
    if "dataparallel" in strategy:
        return "dataparallel"
    framework = row.text("framework").lower()
    if "horovod" in f"{strategy} {framework}" or ("tensorflow" in framework and "dle" in framework):
        # NVIDIA's DeepLearningExamples train TensorFlow with Horovod.
        return "horovod"
    if "tensorflow" in framework:
        return "mirrored"
    return "ddp"


def _servers(row: Row) -> dict[str, Any]:
    """Return the preset of TensorFlow's benchmarks: variables on the CPU of one process, or replicas and servers."""
    if row.has("framework", "mxnet ps"):
        # ps-lite over RDMA; that a server is beside every worker is taken.
        if row.count("num_gpus") <= machine_of(row).gpus_per_node:
            raise Unusable("one node: the same with ByteScheduler and without, so that its GPUs sum without a server")
        preset = "bytescheduler" if row.has("framework", "bytescheduler") else "mxnet_dist_device_sync"
        return {"parameter_server": {"preset": preset, "location": "colocated"}}
    if not row.has("framework", "tensorflow"):
        raise Unusable(f"parameter servers of {row.text('framework')!r}: not mapped to a preset")
    if row.has("ps_servers", "on gpu"):
        raise Unusable("variables on the GPUs of one process: not mapped to a preset")
    if row.has("ps_servers", "in-process"):
        return {"parameter_server": {"preset": "tensorflow_parameter_server"}}
    return {"parameter_server": {"preset": "tensorflow_distributed_replicated", "servers": row.count("ps_servers")}}


def _gpt(row: Row, layers: int, hidden: int) -> Scenario:
    layout = _LAYOUT.match(row.text("strategy"))
    if layout is None:
        raise Unusable(f"layout {row.text('strategy')!r} is not dpN tpN ppN")
    if not row.has("framework", "megatron"):
        raise Unusable(f"{row.text('framework')}: its kernels are not modelled")
    dp, tp, pp = map(int, layout.groups())
    batch, parts = row.count("global_batch"), row.count("micro_batches", 1)
    strategy: dict[str, Any] = {"mesh": {"tp": tp, "pp": pp}, "data_parallel": {"kind": "ddp", "overlap": False}}
    training = {"global_batch": batch, "precision": "fp16", "optimizer": "adam"}
    microbatch = batch // (dp * parts)
    if pp > 1:
        strategy["pipeline"] = {"schedule": "1f1b", "microbatch": microbatch, "overlap_p2p": False}
    else:
        training["microbatch"] = microbatch
    if row.has("notes", "activation checkpointing"):
        training["recompute"] = "full"
    return {
        "description": f"{row.name}: {row.text('model')} on {row.text('num_gpus')} {row.text('gpu')}",
        **cluster_of(row),
        "model": {"name": row.text("model"), "config": _gpt_config(row, layers, hidden), "sequence": _sequence(row)},
        "training": training,
        "strategy": strategy,
    }


def _sequence(row: Row) -> int:
    match = re.match(r"\d+", row.text("seq_len"))
    return int(match[0]) if match else _BERT_SEQUENCE


def _gpt_config(row: Row, layers: int, hidden: int) -> dict[str, Any]:
    """Return the config, with 96 features a head, or 64 where 96 does not divide."""
    return {
        "model_type": "gpt2",
        "n_layer": layers,
        "n_embd": hidden,
        "n_head": hidden // (96 if hidden % 96 == 0 else 64),
        "n_positions": _sequence(row),
        "vocab_size": 51200,
    }
