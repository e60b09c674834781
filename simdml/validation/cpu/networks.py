"""The networks whose steps are timed and predicted: as calibrate/training.py trains them, and as a scenario says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Network:
    """``name`` in calibrate/training_models.py; ``config`` is a Hugging Face config, without one the name is simdml's.

    Configs say that there is no dropout, which the step does not have either.
    """

    name: str
    title: str
    batch: int
    sequence: int | None = None
    config: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def training(self) -> dict[str, Any]:
        """Return the scenario's ``training`` section of the step that training.py takes."""
        common = {"batch_per_gpu": self.batch, "precision": "fp32", "kernels": "eager", "fused_optimizer": True}
        if self.sequence is None:
            return common | {"optimizer": "sgd_momentum"}
        return common | {"optimizer": "adamw", "sequence": self.sequence, "attention": "flash"}


NETWORKS: Final = (
    Network("resnet50", "ResNet-50, 2 images", 2),
    Network(
        "llama_75m",
        "Llama-style 75M, 128 tokens",
        1,
        128,
        {
            "model_type": "llama",
            "hidden_size": 768,
            "num_hidden_layers": 8,
            "num_attention_heads": 12,
            "num_key_value_heads": 4,
            "intermediate_size": 2048,
            "vocab_size": 32000,
            "tie_word_embeddings": True,
        },
    ),
    Network(
        "bert_base",
        "BERT base, 128 tokens",
        1,
        128,
        {
            "model_type": "bert",
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "max_position_embeddings": 512,
            "vocab_size": 30522,
            "hidden_dropout_prob": 0.0,
        },
    ),
    Network("vgg16", "VGG-16, 1 image", 1),
    Network(
        "gpt2",
        "GPT-2 124M, 128 tokens",
        1,
        128,
        {
            "model_type": "gpt2",
            "n_embd": 768,
            "n_layer": 12,
            "n_head": 12,
            "n_positions": 1024,
            "vocab_size": 50257,
            "resid_pdrop": 0.0,
        },
    ),
)
QUICK: Final = NETWORKS[:1]
