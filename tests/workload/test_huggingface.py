"""config.json files, as their families' checkpoints carry them, against the catalog and known counts."""

import json
from dataclasses import replace

import pytest

from simdml.errors import DocumentError, UnknownNameError
from simdml.workload.catalog import find_model
from simdml.workload.huggingface import read_huggingface
from simdml.workload.transformer import build_transformer

GPT2 = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "n_inner": None}
GPT2 |= {"vocab_size": 50257, "resid_pdrop": 0.1}
LLAMA = {"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}
LLAMA8 = LLAMA | {"num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "head_dim": None}
LLAMA7 = LLAMA | {"intermediate_size": 11008, "vocab_size": 32000, "tie_word_embeddings": False}
MIXTRAL = LLAMA8 | {"model_type": "mixtral", "vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2}
BERT = {"model_type": "bert", "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
BERT |= {"intermediate_size": 4096, "vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2}


@pytest.mark.parametrize(
    ("name", "content"),
    [("gpt2", GPT2), ("llama3_8b", LLAMA8), ("llama2_7b", LLAMA7), ("mixtral_8x7b", MIXTRAL), ("bert_large", BERT)],
)
def test_file_gives_the_catalog_s_model(name, content):
    assert replace(read_huggingface(content), name=name) == find_model(name).config


OPT = {"model_type": "opt", "hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 32}
OPT |= {"ffn_dim": 8192, "vocab_size": 50272, "max_position_embeddings": 2048, "word_embed_proj_dim": 2048}
BLOOM = {"model_type": "bloom", "hidden_size": 1024, "n_layer": 24, "num_attention_heads": 16, "vocab_size": 250880}
NEOX = {"model_type": "gpt_neox", "hidden_size": 6144, "num_hidden_layers": 44, "num_attention_heads": 64}
NEOX |= {"intermediate_size": 24576, "vocab_size": 50432, "max_position_embeddings": 2048}
QWEN2 = {"model_type": "qwen2", "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28}
QWEN2 |= {"num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064}
GEMMA = {"model_type": "gemma", "hidden_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16}
GEMMA |= {"num_key_value_heads": 16, "head_dim": 256, "intermediate_size": 24576, "vocab_size": 256000}
MISTRAL = LLAMA8 | {"model_type": "mistral", "vocab_size": 32000, "sliding_window": 4096}


MPT = {"model_type": "mpt", "d_model": 4096, "n_layers": 32, "n_heads": 32, "vocab_size": 50432, "max_seq_len": 2048}


@pytest.mark.parametrize(
    ("content", "parameters"),
    [
        (OPT, 1_315_758_080),
        (BLOOM, 559_214_592),
        (NEOX, 20_554_567_680),
        (QWEN2, 7_615_616_512),
        (GEMMA, 8_537_680_896),
        (MISTRAL, 7_241_732_096),
        (MPT, 6_649_286_656),
    ],
    ids=["opt-1.3b", "bloom-560m", "gpt-neox-20b", "qwen2-7b", "gemma-7b", "mistral-7b", "mpt-7b"],
)
def test_parameter_counts_of_released_checkpoints(content, parameters):
    model = build_transformer(read_huggingface(content), samples=1, sequence=128)
    assert model.parameter_count == parameters


def test_path_and_text_config(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "llava", "text_config": LLAMA7}))
    assert read_huggingface(path) == read_huggingface(LLAMA7)


def test_tied_head_follows_the_file():
    assert read_huggingface(LLAMA7 | {"tie_word_embeddings": True}).tied_head
    assert not read_huggingface(GPT2 | {"tie_word_embeddings": False}).tied_head


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"hidden_size": 8}, "model_type"),
        ({k: v for k, v in GPT2.items() if k != "n_embd"}, "hidden_size, n_embd"),
        (GPT2 | {"n_layer": -1}, "n_layer must be a positive integer"),
        (GPT2 | {"n_layer": "12"}, "n_layer must be a positive integer"),
        (LLAMA7 | {"attention_bias": 1}, "true or false"),
        (OPT | {"word_embed_proj_dim": 512}, "word_embed_proj_dim"),
    ],
)
def test_bad_content_is_refused(content, message):
    with pytest.raises(DocumentError, match=message):
        read_huggingface(content)


def test_unknown_model_type_names_the_nearest():
    with pytest.raises(UnknownNameError, match="gpt_neox"):
        read_huggingface({"model_type": "gpt_neoxx"})


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe\x00"])
def test_bad_files_are_refused(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(DocumentError, match=r"config\.json"):
        read_huggingface(path)
