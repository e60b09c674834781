"""What a model is before it is built: a transformer or a convolutional network that any micro-batch can be made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypedDict, Unpack

from simdml.errors import InfeasibleError
from simdml.workload.architecture import TransformerConfig
from simdml.workload.model import Model


class BuildOptions(TypedDict, total=False):
    """How a micro-batch is computed; what a kind of model has no use for is ignored, the rest has its defaults."""

    element_bytes: int
    attention: str
    fused_elementwise: bool
    vocab_multiple: int
    gradient_accumulation: str
    context_ways: int
    expert_load: float
    fused_norm: bool
    norm_keeps_input: bool
    gathers_logits: bool


class ModelSpec(Protocol):
    """A model that can be built for any micro-batch; ``default_sequence`` is None for images."""

    @property
    def name(self) -> str:
        """The name in the catalog."""
        ...

    @property
    def sample_unit(self) -> str:
        """``"images"`` or ``"sequences"``."""
        ...

    @property
    def default_sequence(self) -> int | None:
        """Tokens a sample unless told otherwise."""
        ...

    def build(self, *, samples: int, sequence: int | None = None, **options: Unpack[BuildOptions]) -> Model:
        """Return one micro-batch of ``samples``."""
        ...


@dataclass(frozen=True, slots=True)
class TransformerSpec:
    """A transformer and the sequence length it is trained with."""

    config: TransformerConfig
    default_sequence: int
    sample_unit: str = "sequences"

    @property
    def name(self) -> str:
        """The name in the catalog."""
        return self.config.name

    def build(self, *, samples: int, sequence: int | None = None, **options: Unpack[BuildOptions]) -> Model:
        """Return one micro-batch; options of :func:`~simdml.workload.transformer.build_transformer`."""
        # Transformers are loaded for themselves alone, for start-up time.
        from simdml.workload.transformer import build_transformer

        length = self.default_sequence if sequence is None else sequence
        return build_transformer(self.config, samples=samples, sequence=length, **options)


@dataclass(frozen=True, slots=True)
class ConvnetSpec:
    """A convolutional network and the size of its images."""

    name: str
    builder: Callable[..., Model]
    image_size: int = 224
    sample_unit: str = "images"
    default_sequence: int | None = None

    def build(
        self,
        *,
        samples: int,
        sequence: int | None = None,
        image_size: int | None = None,
        **options: Unpack[BuildOptions],
    ) -> Model:
        """Return one micro-batch of images; InfeasibleError if given a ``sequence`` length."""
        if sequence is not None:
            raise InfeasibleError(f"{self.name} works on images, which have no sequence length")
        return self.builder(
            samples=samples,
            image_size=self.image_size if image_size is None else image_size,
            element_bytes=options.get("element_bytes", 4),
            gradient_accumulation=options.get("gradient_accumulation", "none"),
        )
