"""Models by name, as data; :func:`find_model` gives one, and its ``build`` a micro-batch of it."""

from __future__ import annotations

from collections.abc import Mapping

from simdml.errors import UnknownNameError
from simdml.registry import Registry
from simdml.workload.architecture import Head, Latent, Norm, TransformerConfig
from simdml.workload.spec import ConvnetSpec, ModelSpec, TransformerSpec

__all__ = ["ConvnetSpec", "ModelSpec", "TransformerSpec", "available_models", "find_model"]


def find_model(name: str) -> ModelSpec:
    """Return the model called ``name`` (case, ``-`` and ``.`` do not matter); UnknownNameError if none is."""
    key = name.strip().lower().replace("-", "_").replace(".", "_").replace(" ", "_")
    if key in _TRANSFORMERS:
        return _TRANSFORMERS[key]
    if key not in _CONVNETS:
        raise UnknownNameError("model", name, available_models())
    return _CONVNETS[key]


def available_models() -> tuple[str, ...]:
    """Return the names of all models, in the order of the tables."""
    return (*_TRANSFORMERS, *_CONVNETS)


def _gpt(name: str, layers: int, hidden: int, heads: int, vocab: int, sequence: int) -> TransformerSpec:
    config = TransformerConfig(
        name=name,
        family="gpt2",
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=heads,
        head_size=hidden // heads,
        ffn=4 * hidden,
        vocab=vocab,
        position_rows=sequence,
    )
    return TransformerSpec(config, sequence)


def _bert(name: str, layers: int, hidden: int, heads: int) -> TransformerSpec:
    config = TransformerConfig(
        name=name,
        family="bert",
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=heads,
        head_size=hidden // heads,
        ffn=4 * hidden,
        vocab=30522,
        position_rows=512,
        token_types=2,
        post_norm=True,
        embedding_norm=True,
        head=Head.BERT,
        merged_projections=False,
    )
    return TransformerSpec(config, 512)


def _llama(
    name: str,
    layers: int,
    hidden: int,
    heads: int,
    kv_heads: int,
    ffn: int,
    vocab: int,
    sequence: int,
    experts: tuple[int, int] = (0, 0),
) -> TransformerSpec:
    config = TransformerConfig(
        name=name,
        family="mixtral" if experts[0] else "llama",
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_size=hidden // heads,
        ffn=ffn,
        vocab=vocab,
        rotary=True,
        gated=True,
        qkv_bias=False,
        output_bias=False,
        mlp_bias=False,
        norm=Norm.RMS,
        norm_bias=False,
        tied_head=False,
        merged_projections=False,
        num_experts=experts[0],
        experts_per_token=experts[1],
        dropout=False,
    )
    return TransformerSpec(config, sequence)


# name, layers, hidden, heads, vocabulary, sequence. GPT-2: Radford et al. 2019, table 2 and the released
# checkpoints. GPT-3: Brown et al., arXiv 2005.14165, table 2.1.
_GPT = (
    ("gpt2", 12, 768, 12, 50257, 1024),
    ("gpt2_medium", 24, 1024, 16, 50257, 1024),
    ("gpt2_large", 36, 1280, 20, 50257, 1024),
    ("gpt2_xl", 48, 1600, 25, 50257, 1024),
    ("gpt3_175b", 96, 12288, 96, 50257, 2048),
)

# Narayanan et al., "Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM", SC21
# (arXiv 2104.04473), table 1; vocabulary 51,200 and sequence 2,048 from section 5.
_SC21 = (
    ("gpt_1_7b", 24, 2304, 24),
    ("gpt_3_6b", 30, 3072, 32),
    ("gpt_7_5b", 36, 4096, 32),
    ("gpt_18b", 40, 6144, 48),
    ("gpt_39b", 48, 8192, 64),
    ("gpt_76b", 60, 10240, 80),
    ("gpt_145b", 80, 12288, 96),
    ("gpt_310b", 96, 16384, 128),
    ("gpt_530b", 105, 20480, 128),
    ("gpt_1t", 128, 25600, 160),
)

# name, layers, hidden, heads. Devlin et al., arXiv 1810.04805, section 3; vocabulary of the uncased checkpoints.
_BERT = (("bert_base", 12, 768, 12), ("bert_large", 24, 1024, 16))

# name, layers, hidden, heads, KV heads, ffn, vocabulary, sequence, (experts, experts a token). Llama 2: arXiv
# 2307.09288, table 1; Llama 3: arXiv 2407.21783, table 3; Mixtral: arXiv 2401.04088, table 1; ffn sizes and
# Llama 2's vocabulary from the released configurations.
_LLAMA = (
    ("llama2_7b", 32, 4096, 32, 32, 11008, 32000, 4096),
    ("llama2_13b", 40, 5120, 40, 40, 13824, 32000, 4096),
    ("llama2_70b", 80, 8192, 64, 8, 28672, 32000, 4096),
    ("llama3_8b", 32, 4096, 32, 8, 14336, 128256, 8192),
    ("llama3_70b", 80, 8192, 64, 8, 28672, 128256, 8192),
    ("llama3_405b", 126, 16384, 128, 8, 53248, 128256, 8192),
    ("mixtral_8x7b", 32, 4096, 32, 8, 14336, 32000, 4096, (8, 2)),
)

# DeepSeek-AI, DeepSeek-V3, arXiv 2412.19437, section 4.2, and deepseek-ai/DeepSeek-V3's config.json, without the layer
# for multi-token prediction; trained on sequences of 4,096 tokens.
_DEEPSEEK_V3 = TransformerConfig(
    name="deepseek_v3",
    family="deepseek_v3",
    layers=61,
    hidden=7168,
    heads=128,
    kv_heads=128,
    head_size=192,
    ffn=2048,
    vocab=129280,
    rotary=True,
    gated=True,
    qkv_bias=False,
    output_bias=False,
    mlp_bias=False,
    norm=Norm.RMS,
    norm_bias=False,
    tied_head=False,
    merged_projections=False,
    num_experts=256,
    experts_per_token=8,
    shared_ffn=2048,
    dropout=False,
    latent=Latent(query_rank=1536, key_value_rank=512, plain_size=128, rotary_size=64, value_size=128),
    dense_layers=3,
    dense_ffn=18432,
    router_bias=True,
)

_TRANSFORMERS: Mapping[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        *(_gpt(*row) for row in _GPT),
        *(_gpt(*row, 51200, 2048) for row in _SC21),
        *(_bert(*row) for row in _BERT),
        *(_llama(*row) for row in _LLAMA),
        TransformerSpec(_DEEPSEEK_V3, 4096),
    )
}
# torchvision/models; images of 224 pixels, 299 for Inception v3. The U-Net and AmoebaNet-D are torchgpipe's.
_CONVNETS: Mapping[str, ModelSpec] = Registry(
    "simdml.workload.convnets",
    {
        "alexnet": "alexnet:ALEXNET",
        "vgg16": "vgg:VGG16",
        "resnet50": "resnet:RESNET50",
        "resnet101": "resnet:RESNET101",
        "resnet152": "resnet:RESNET152",
        "inception_v3": "inception:INCEPTION_V3",
        "unet": "unet:UNET",
        "amoebanet_d": "amoebanet:AMOEBANET_D",
    },
)
