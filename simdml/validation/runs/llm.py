"""Rows of language models into scenarios."""

from __future__ import annotations

from typing import Any, Final

from simdml.validation.runs.frameworks import Framework, framework_of
from simdml.validation.runs.hardware import cluster_of, machine_of
from simdml.validation.runs.memory_readings import measured_memory_bytes
from simdml.validation.runs.reading import Row, Unusable

Scenario = dict[str, Any]

_PRECISIONS: Final = (("fp8", "fp8"), ("bf16", "bf16"), ("fp16", "fp16"), ("tf32", "tf32"), ("fp32", "fp32"))
_KINDS: Final = (
    # What a row's model is called, and the Hugging Face model_type of the same architecture.
    (("grok", "mixtral"), "mixtral"),
    (("llama", "internlm", "mistral"), "llama"),
    (("bert",), "bert"),
    (("mpt",), "mpt"),
    (("opt",), "opt"),
    (("nemotron", "neox", "pythia"), "gpt_neox"),
)
_SCHEDULES: Final = (("zb-1p", "zb_h1"), ("zb-2p", "zb_h2"), ("zb-v", "zb_v"), ("zb-h1", "zb_h1"), ("gpipe", "gpipe"))
_DEFAULT_SEQUENCE: Final = 2048
_GPT2_VOCABULARY: Final = 50257


def llm_scenario(row: Row) -> Scenario:
    """Return the scenario of a row; raises Unusable with the reason why there is none."""
    _ready(row)
    framework = framework_of(row)
    profile = framework.profiles.get(machine_of(row).device)
    return {
        "description": f"{row.name}: {row.text('model')} on {row.text('num_gpus')} {row.text('gpu')}",
        **cluster_of(row),
        "model": _model(row),
        "training": _training(row, framework),
        "strategy": _strategy(row, framework),
        **({"profile": profile} if profile else {}),
    }


def _ready(row: Row) -> None:
    ready = row.text("sim_ready")
    if ready.startswith(("partial", "no")) and ready != "":
        missing = ready.partition(":")[2]
        raise Unusable(f"its source does not say enough: {missing}" if missing else "its source does not say enough")
    if row.text("metric_status") == "error":
        raise Unusable("the run failed")
    if row.has("model", "lora"):
        raise Unusable("low-rank adapters: most weights are not trained")
    if row.text("offload") not in {"", "none"}:
        raise Unusable(f"offload of {row.text('offload')}: not mapped to a strategy")
    if row.measured_s is None and not row.out_of_memory and measured_memory_bytes(row) is None:
        raise Unusable("no measured step time")


def _model(row: Row) -> dict[str, Any]:
    name = row.text("model").lower()
    kind = next((kind for words, kind in _KINDS if any(word in name for word in words)), "gpt2")
    hidden, heads = row.count("hidden"), row.count("heads")
    sequence = row.count("seq_len", _DEFAULT_SEQUENCE)
    config: dict[str, Any] = {
        "model_type": kind,
        "num_hidden_layers": row.count("layers"),
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": row.count("kv_heads", heads),
        "intermediate_size": row.count("ffn", 4 * hidden),
        "vocab_size": _vocabulary(row),
        "max_position_embeddings": sequence,
    }
    if kind == "mixtral":
        config |= {"num_local_experts": 8, "num_experts_per_tok": 2}
    return {"name": row.text("model") or "model", "config": config, "sequence": sequence, **framework_of(row).model}


def _vocabulary(row: Row) -> int:
    """Return the vocabulary, padded to 128 x tp by Megatron's kin (megatron/tokenizer/tokenizer.py)."""
    stated = row.count("vocab", _GPT2_VOCABULARY)
    multiple = 128 * row.count("tp", 1) if "Megatron" in framework_of(row).name else 1
    return -(-stated // multiple) * multiple


def _training(row: Row, framework: Framework) -> dict[str, Any]:
    training: dict[str, Any] = {
        "global_batch": row.count("global_batch_seqs"),
        "precision": precision_of(row),
        "optimizer": "adam",
        "recompute": _recompute(row),
        **framework.training,
    }
    if row.has("notes", "attention kernel=torch"):
        # PyTorch's own softmax, in fp32 as that of Megatron-LM without fusion: chosen after rows were seen.
        training["attention"] = "fp32_softmax"
    elif row.has("notes", "no flashattention"):
        training["attention"] = "unfused"
    elif row.has("notes", "attention kernel=fused"):
        training["attention"] = "fused_softmax"
    elif row.has("notes", "flash_attentionv1"):
        training["attention"] = "flash_1"
    elif framework.name == "Megatron-Core" and row.has("gpu", "h100", "h200", "b200"):
        # TransformerEngine takes cuDNN's fused attention on Hopper and Blackwell.
        training["attention"] = "flash_3"
    if row.has("notes", "rms kernel"):
        training["norm"] = "fused"
    if row.has("notes", "mp mode=pure"):
        training["gradients"] = "bf16"
    if framework.name == "Megatron-DeepSpeed" and row.text("dtype").startswith("bf16"):
        # DeepSpeed's BF16_Optimizer adds gradients up in fp32 (deepspeed/runtime/bf16_optimizer.py).
        training["gradients"] = "fp32"
    if framework.name == "Megatron-Core" and training["precision"] == "fp8":
        # fp8_params of NVIDIA's recipes, as recalled; chosen after rows that ran were seen not to fit otherwise.
        training["primary_weights"] = "fp8"
    microbatch = row.text("micro_batch")
    if microbatch and row.count("pp", 1) == 1:
        training["microbatch"] = row.count("micro_batch")
    return training


def precision_of(row: Row) -> str:
    """Return the precision of a row, by default bf16 for language models."""
    text = row.text("dtype").lower()
    found = next((name for word, name in _PRECISIONS if word in text), "" if text else "bf16")
    if not found:
        raise Unusable(f"dtype {row.text('dtype')!r} is none that simdml has")
    return found


def _recompute(row: Row) -> str:
    text = row.text("recompute").lower()
    if text.startswith("yaml:") or text in {"", "none"}:
        return "none"
    if text in {"full", "selective"}:
        return text
    raise Unusable(f"recompute {row.text('recompute')!r}: which layers is not stated")


_ASYNC_ALL_REDUCE: Final = 2022
"""The year from which Megatron-LM sums inputs' gradients over tensor ranks beside the weights' gradients."""


def _strategy(row: Row, framework: Framework) -> dict[str, Any]:
    mesh = {axis: row.count(axis, 1) for axis in ("tp", "pp", "cp", "ep")}
    strategy: dict[str, Any] = {"data_parallel": _data_parallel(row, framework)}
    degrees = {axis: size for axis, size in mesh.items() if size > 1}
    if strategy["data_parallel"].pop("hybrid", False):
        degrees["dp_shard"] = row.count("gpus_per_node", 8)
    if degrees or framework.by_megatron:
        strategy["mesh"] = degrees
    if mesh["tp"] > 1 and row.text("seq_parallel") == "yes":
        strategy["tensor_parallel"] = {"sequence_parallel": True}
    elif (
        mesh["tp"] > 1 and framework.name == "Megatron-LM" and row.count("year", _ASYNC_ALL_REDUCE) < _ASYNC_ALL_REDUCE
    ):
        strategy["tensor_parallel"] = {"async_all_reduce": False}
    if mesh["pp"] > 1:
        strategy["pipeline"] = _pipeline(row, framework, mesh["pp"])
    return strategy


def _pipeline(row: Row, framework: Framework, stages: int) -> dict[str, Any]:
    said = f"{row.text('schedule')} {row.text('notes')}".lower()
    schedule = next((name for word, name in _SCHEDULES if word in said), "1f1b")
    pipeline: dict[str, Any] = {"schedule": schedule, "microbatch": row.count("micro_batch")}
    chunks = row.text("vpp")
    if "layers per stage" in chunks or "1f1b-i" in said:
        pipeline |= {"schedule": "interleaved_1f1b", "chunks": -(-row.count("layers") // stages)}
    elif chunks and row.count("vpp") > 1:
        pipeline |= {"schedule": "interleaved_1f1b", "chunks": row.count("vpp")}
    if framework.overlap_p2p is not None and pipeline["schedule"] in ("1f1b", "interleaved_1f1b"):
        pipeline["overlap_p2p"] = framework.overlap_p2p
    parts = stages * pipeline.get("chunks", 1)
    if row.count("layers") % parts:
        # DeepSpeed's type:transformer|embedding and Megatron-Core's ends; else what weighs least on the slowest stage.
        pipeline["balance"] = "flops" if (row.count("layers") + 2) % parts else "blocks_and_ends"
    return pipeline


def _data_parallel(row: Row, framework: Framework) -> dict[str, Any]:
    sharding = row.text("sharding").lower()
    if sharding.startswith(("hsdp", "fsdp+dp")):
        return {"kind": "fsdp1", "hybrid": True}
    if sharding.startswith("fsdp"):
        return {"kind": "fsdp1"} | ({"sharding": "shard_grad_op"} if "grad_op" in sharding else {})
    if sharding.startswith(("zero2", "zero3")):
        return {"kind": sharding[:5]}
    if sharding.startswith("zero1"):
        return {"kind": framework.zero1, **framework.data_parallel}
    if sharding in {"", "none"}:
        if framework.by_megatron and row.has("notes", "ddp=torch"):
            # --DDP-impl torch in place of Megatron's own.
            return {"kind": "ddp", "overlap": True, "gradient_as_bucket_view": False}
        return {"kind": "ddp", "overlap": framework.overlap}
    raise Unusable(f"sharding {row.text('sharding')!r} is none that simdml has")
