"""The ``model`` section."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from simdml.documents.quantities import Count, DocumentModel
from simdml.documents.sections import section
from simdml.scenario.schema.names import offering
from simdml.workload.catalog import available_models

if TYPE_CHECKING:
    from simdml.scenario.schema.layers import LayerSpec
else:
    LayerSpec = section("simdml.scenario.schema.layers:LayerSpec")

ModelName = Annotated[str, Field(json_schema_extra=offering(available_models()))]


class ModelSpec(DocumentModel):
    """A model by ``name``, from a Hugging Face ``config``, or as a list of ``layers``."""

    name: ModelName | None = None
    """A model of the catalog (simdml list models), or what to call the model of config or layers."""
    config: str | dict[str, Any] | None = None
    """A Hugging Face config.json, relative to the scenario, or what would be in one."""
    layers: list[LayerSpec] | None = Field(default=None, min_length=1)
    """Layers in forward order."""
    sequence: Count | None = None
    """Tokens of a sample; the model's own length by default."""
    merged_qkv: bool | None = None
    """Whether queries, keys and values are projected by one matrix, as Megatron-LM does; as published by default."""
    predictions: Count | None = None
    """Masked positions of a sequence that get logits, gathered first, as in the original BERT; all by default."""
    image_size: Count | None = None
    """Pixels a side of an image; the model's own by default."""
    sample_unit: Literal["images", "sequences"] = "images"
    """What a sample of a list of layers is."""

    @model_validator(mode="after")
    def _one_source(self) -> ModelSpec:
        if self.config is not None and self.layers is not None:
            raise ValueError("a model has a config or layers, not both")
        if self.config is None and self.layers is None and self.name is None:
            raise ValueError("a model needs a name, a config or layers")
        return self
