"""Reads a Hugging Face ``config.json`` (huggingface/transformers, src/transformers/models/*/configuration_*.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simdml.errors import DocumentError, UnknownNameError
from simdml.workload.architecture import Head, Latent, Norm, TransformerConfig

HIDDEN = ("hidden_size", "n_embd", "d_model")
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
FFN = ("intermediate_size", "n_inner", "ffn_dim")
POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx")
DROPOUTS = ("resid_pdrop", "hidden_dropout_prob", "hidden_dropout", "dropout")


@dataclass(frozen=True, slots=True)
class FamilyTraits:
    """What a model type fixes and its file does not say.

    ``fixed`` are fields of TransformerConfig. ``extra_positions`` is None without a learned position table,
    else the rows it has beyond the positions of the file. ``attention_bias`` and ``tied`` are the defaults of
    the file's keys of that name.
    """

    fixed: Mapping[str, Any] = field(default_factory=dict)
    extra_positions: int | None = None
    attention_bias: bool = False
    tied: bool = False
    dropout: bool = False
    ffn_of_hidden: int | None = None


_LLAMA = {
    "gated": True,
    "rotary": True,
    "norm": Norm.RMS,
    "norm_bias": False,
    "merged_projections": False,
}
_BIASED = {"qkv_bias": True, "output_bias": True, "mlp_bias": True}
_BERT = {"post_norm": True, "embedding_norm": True, "head": Head.BERT, "merged_projections": False}

FAMILIES: Mapping[str, FamilyTraits] = {
    "gpt2": FamilyTraits(_BIASED, extra_positions=0, tied=True, dropout=True, ffn_of_hidden=4),
    "bert": FamilyTraits(_BERT | _BIASED, extra_positions=0, tied=True, dropout=True),
    "mpt": FamilyTraits({"norm_bias": False}, tied=True, ffn_of_hidden=4),
    "opt": FamilyTraits({**_BIASED, "merged_projections": False}, extra_positions=2, tied=True, dropout=True),
    "bloom": FamilyTraits({**_BIASED, "embedding_norm": True}, tied=True, ffn_of_hidden=4),
    "gpt_neox": FamilyTraits({"mlp_bias": True, "rotary": True}, attention_bias=True),
    "llama": FamilyTraits(_LLAMA),
    "mistral": FamilyTraits(_LLAMA),
    "mixtral": FamilyTraits(_LLAMA),
    "qwen2": FamilyTraits({**_LLAMA, "qkv_bias": True, "output_bias": False}),
    "qwen2_moe": FamilyTraits({**_LLAMA, "qkv_bias": True, "output_bias": False}),
    "gemma": FamilyTraits(_LLAMA, tied=True),
    "deepseek_v2": FamilyTraits(_LLAMA),
    "deepseek_v3": FamilyTraits({**_LLAMA, "router_bias": True}),
}


def read_huggingface(source: Mapping[str, Any] | str | Path) -> TransformerConfig:
    """Return the config of a ``config.json``: a path or its content.

    Multi-modal files are read at their ``text_config``. BERT gets its pre-training heads whatever its
    ``architectures`` says, for this is about training. ``sliding_window`` is ignored. Raises DocumentError for
    a file that cannot be read or a key that is missing or wrong, UnknownNameError for an unknown ``model_type``.
    """
    keys, where = _load(source)
    if isinstance(keys.get("text_config"), Mapping):
        keys = keys["text_config"]
    model_type = keys.get("model_type")
    if not isinstance(model_type, str):
        raise DocumentError(f"{where}: no model_type", hint="a Hugging Face config.json names its model_type")
    if model_type not in FAMILIES:
        raise UnknownNameError("model_type", model_type, FAMILIES)
    _refuse_variants(keys, where)
    reader = _Reader(keys, where)
    return TransformerConfig(**_sizes(reader, model_type), **_options(reader, model_type))


def _sizes(reader: _Reader, model_type: str) -> dict[str, Any]:
    traits = FAMILIES[model_type]
    hidden, heads = reader.size(HIDDEN), reader.size(HEADS)
    ffn_default = None if traits.ffn_of_hidden is None else traits.ffn_of_hidden * hidden
    positions = traits.extra_positions
    return {
        "name": reader.text("_name_or_path") or model_type,
        "family": model_type,
        "layers": reader.size(LAYERS),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": reader.size(("num_key_value_heads",), heads),
        "head_size": reader.size(("head_dim",), hidden // heads),
        "ffn": reader.size(FFN, ffn_default),
        "vocab": reader.size(("vocab_size",)),
        "position_rows": 0 if positions is None else reader.size(POSITIONS) + positions,
        "token_types": reader.size(("type_vocab_size",), 2) if model_type == "bert" else 0,
        **_experts(reader, model_type),
        **(_latent(reader) if model_type.startswith("deepseek") else {}),
    }


def _latent(reader: _Reader) -> dict[str, Any]:
    """Return the sizes of DeepSeek-V2's and V3's attention and experts; V3's where the file leaves them out.

    The layers for multi-token prediction (num_nextn_predict_layers) are not read: the class has none. ``head_dim`` is
    that of the rotated part there.
    """
    if reader.size(("moe_layer_freq",), 1) != 1:
        raise DocumentError(f"{reader.where}: moe_layer_freq other than 1 is not supported")
    latent = Latent(
        query_rank=0 if reader.is_null("q_lora_rank") else reader.size(("q_lora_rank",), 1536),
        key_value_rank=reader.size(("kv_lora_rank",), 512),
        plain_size=reader.size(("qk_nope_head_dim",), 128),
        rotary_size=reader.size(("qk_rope_head_dim",), 64),
        value_size=reader.size(("v_head_dim",), 128),
    )
    experts = reader.size(("moe_intermediate_size",), 2048)
    return {
        "latent": latent,
        "head_size": latent.head_size,
        "kv_heads": reader.size(HEADS),
        "num_experts": reader.size(("n_routed_experts",), 256),
        "experts_per_token": reader.size(("num_experts_per_tok",), 8),
        "ffn": experts,
        "shared_ffn": experts * reader.count("n_shared_experts", 1),
        "dense_layers": reader.count("first_k_dense_replace", 3),
        "dense_ffn": reader.size(FFN, 18432),
    }


def _experts(reader: _Reader, model_type: str) -> dict[str, int]:
    """Return the sizes of experts; every layer of a Qwen2-MoE has them, and one that all tokens share."""
    if model_type == "mixtral":
        return {
            "num_experts": reader.size(("num_local_experts",), 8),
            "experts_per_token": reader.size(("num_experts_per_tok",), 2),
        }
    if model_type == "qwen2_moe":
        return {
            "num_experts": reader.size(("num_experts",), 60),
            "experts_per_token": reader.size(("num_experts_per_tok",), 4),
            "ffn": reader.size(("moe_intermediate_size",), 1408),
            "shared_ffn": reader.size(("shared_expert_intermediate_size",), 5632),
        }
    return {}


def _options(reader: _Reader, model_type: str) -> dict[str, Any]:
    traits = FAMILIES[model_type]
    attention_bias = reader.flag("attention_bias", traits.attention_bias)
    options = {
        "qkv_bias": attention_bias,
        "output_bias": attention_bias,
        "mlp_bias": reader.flag("mlp_bias", False),
        "tied_head": reader.flag("tie_word_embeddings", traits.tied),
        "dropout": reader.any_positive(DROPOUTS, traits.dropout),
    }
    return options | dict(traits.fixed)


@dataclass(frozen=True, slots=True)
class _Reader:
    keys: Mapping[str, Any]
    where: str

    def size(self, names: tuple[str, ...], default: int | None = None) -> int:
        """Return the first of ``names`` present and not null, a positive integer, or ``default``."""
        for name in names:
            value = self.keys.get(name)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise DocumentError(f"{self.where}: {name} must be a positive integer, got {value!r}")
            return value
        if default is None:
            raise DocumentError(f"{self.where}: none of {', '.join(names)} is given")
        return default

    def count(self, name: str, default: int) -> int:
        """Return a number that may be 0, ``default`` if it is not given; null is none."""
        value = self.keys.get(name, default)
        if value is None:
            return 0
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise DocumentError(f"{self.where}: {name} must be a number from 0 up, got {value!r}")
        return value

    def is_null(self, name: str) -> bool:
        return name in self.keys and self.keys[name] is None

    def flag(self, name: str, default: bool) -> bool:
        value = self.keys.get(name, default)
        if not isinstance(value, bool):
            raise DocumentError(f"{self.where}: {name} must be true or false, got {value!r}")
        return value

    def any_positive(self, names: tuple[str, ...], default: bool) -> bool:
        values = [self.keys[name] for name in names if isinstance(self.keys.get(name), int | float)]
        return any(value > 0 for value in values) if values else default

    def text(self, name: str) -> str:
        value = self.keys.get(name)
        return value if isinstance(value, str) else ""


def _load(source: Mapping[str, Any] | str | Path) -> tuple[Mapping[str, Any], str]:
    if isinstance(source, Mapping):
        return source, "config"
    try:
        content = json.loads(Path(source).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"{source}: cannot be read: {error}") from error
    except json.JSONDecodeError as error:
        raise DocumentError(f"{source}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from error
    if not isinstance(content, Mapping):
        raise DocumentError(f"{source}: must be a JSON object")
    return content, str(source)


def _refuse_variants(keys: Mapping[str, Any], where: str) -> None:
    """Refuse OPT-350m's layout, whose embedding is narrower than its blocks and whose norms come last."""
    projection = keys.get("word_embed_proj_dim")
    if projection is not None and projection != keys.get("hidden_size"):
        raise DocumentError(f"{where}: word_embed_proj_dim other than hidden_size is not supported")
    if keys.get("do_layer_norm_before") is False:
        raise DocumentError(f"{where}: do_layer_norm_before: false is not supported")
