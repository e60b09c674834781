"""The ``model`` section into something that builds a micro-batch of any size.

What makes models is imported for scenarios that have such a model, for start-up time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, Unpack

from simdml.errors import InfeasibleError
from simdml.scenario.clusters import relative
from simdml.scenario.loading import Scenario
from simdml.scenario.places import located
from simdml.scenario.schema.model import ModelSpec as ModelSection
from simdml.scenario.schema.training import TrainingSpec
from simdml.workload.architecture import Head
from simdml.workload.catalog import find_model
from simdml.workload.model import Model
from simdml.workload.spec import BuildOptions, ConvnetSpec, ModelSpec, TransformerSpec

MODEL = "model"
MODELS_KEPT: Final = 64


@dataclass(frozen=True, slots=True)
class LayerListSpec:
    """A model written down layer by layer, each as its keys and values; like the catalog's :class:`ModelSpec` in use.

    Models of the same layers are equal, so that what was worked out for one serves another.
    """

    name: str
    layers: tuple[tuple[tuple[str, Any], ...], ...]
    sample_unit: str
    default_sequence: int | None = None

    def build(self, *, samples: int, sequence: int | None = None, **options: Unpack[BuildOptions]) -> Model:
        """Return one micro-batch; tokens are counted with a ``sequence`` only."""
        from simdml.workload.custom import build_custom

        return build_custom(
            self.name,
            [dict(layer) for layer in self.layers],
            samples=samples,
            element_bytes=options.get("element_bytes", 4),
            sample_unit=self.sample_unit,
            tokens_per_sample=sequence or 1,
            gradient_accumulation=options.get("gradient_accumulation", "none"),
        )


def chosen_model(scenario: Scenario) -> ModelSpec:
    """Return the model of the scenario.

    Raises:
        UnknownNameError: no such model in the catalog.
        DocumentError: a config or layer that cannot be accepted.
    """
    section = scenario.spec.model
    with located(scenario.document, MODEL, "name"):
        if isinstance(section, str):
            return find_model(section)
        if section.layers is not None:
            entries = tuple(tuple(layer.entry().items()) for layer in section.layers)
            return LayerListSpec(section.name or scenario.name, entries, section.sample_unit)
        if section.config is None:
            spec = _resized(find_model(section.name or ""), section.image_size)
            spec = _merging(spec, section.merged_qkv)
            return _predicting(spec, section.predictions, sequence_length(scenario))
    spec = _merging(_from_config(scenario, section), section.merged_qkv)
    return _predicting(spec, section.predictions, sequence_length(scenario))


def _merging(spec: ModelSpec, merged: bool | None) -> ModelSpec:
    """Return ``spec`` with one matrix for queries, keys and values, or three; InfeasibleError where it has none."""
    if merged is None:
        return spec
    if not isinstance(spec, TransformerSpec):
        raise InfeasibleError(f"{spec.name} has no queries and keys", hint="leave merged_qkv out")
    return replace(spec, config=replace(spec.config, merged_qkv=merged))


def _predicting(spec: ModelSpec, predictions: int | None, sequence: int | None) -> ModelSpec:
    """Return ``spec`` with logits of so many positions alone; raises InfeasibleError for what predicts all tokens."""
    if predictions is None:
        return spec
    if not isinstance(spec, TransformerSpec) or spec.config.head != Head.BERT:
        raise InfeasibleError(f"{spec.name} predicts every token", hint="leave predictions out")
    if predictions > (length := sequence or spec.default_sequence):
        raise InfeasibleError(f"{predictions} predictions in a sequence of {length} tokens")
    return replace(spec, config=replace(spec.config, predictions=predictions))


def _resized(spec: ModelSpec, image_size: int | None) -> ModelSpec:
    if image_size is None:
        return spec
    if not isinstance(spec, ConvnetSpec):
        raise InfeasibleError(f"{spec.name} works on tokens and has no image size", hint="sequence: is their length")
    return replace(spec, image_size=image_size)


def _from_config(scenario: Scenario, section: ModelSection) -> TransformerSpec:
    from simdml.workload.huggingface import read_huggingface

    assert section.config is not None
    with located(scenario.document, MODEL, "config"):
        source = section.config
        config = read_huggingface(relative(scenario, source, MODEL, "config") if isinstance(source, str) else source)
        if not isinstance(source, str) and section.name:
            config = replace(config, name=section.name)
    sequence = sequence_length(scenario)
    if sequence is None:
        raise InfeasibleError(
            "a Hugging Face config does not say how long the training sequences are",
            place=scenario.document.place((MODEL,)),
            hint="add sequence: to model or training",
        )
    return TransformerSpec(config, sequence)


def sequence_length(scenario: Scenario) -> int | None:
    """Return the tokens of a sample if the scenario gives them, in model or in training.

    Raises:
        InfeasibleError: they are given twice, differently.
    """
    section = scenario.spec.model
    of_model = None if isinstance(section, str) else section.sequence
    of_training = scenario.spec.training.sequence
    if of_model is not None and of_training is not None and of_model != of_training:
        raise InfeasibleError(
            f"model.sequence is {of_model} and training.sequence {of_training}",
            place=scenario.document.place(("training", "sequence")),
            hint="keep one of the two",
        )
    return of_model or of_training


@dataclass(frozen=True, slots=True)
class ModelBuilder:
    """Makes a model for a micro-batch of so many samples; equal builders give the very same model."""

    spec: ModelSpec
    options: tuple[tuple[str, Any], ...]
    conversions: tuple[Callable[[Model], Model], ...] = ()

    def __call__(self, samples: int) -> Model:
        """Return the model."""
        return _built(self, samples)


@lru_cache(maxsize=MODELS_KEPT)
def _built(builder: ModelBuilder, samples: int) -> Model:
    model = builder.spec.build(samples=samples, **dict(builder.options))
    for convert in builder.conversions:
        model = convert(model)
    return model


def model_builder(spec: ModelSpec, options: Mapping[str, Any], asked: TrainingSpec) -> ModelBuilder:
    """Return a function from a micro-batch's samples to the model, which remembers what it built."""
    return ModelBuilder(spec, tuple(options.items()), tuple(_conversions(asked)))


def _conversions(asked: TrainingSpec) -> Iterator[Callable[[Model], Model]]:
    """Yield what is done to a model that was built; what does it is loaded where it is done."""
    if asked.fused_batch_norm:
        from simdml.workload.convnets.layout import fused_batch_norm

        yield fused_batch_norm
    if asked.memory_format == "channels_last":
        from simdml.workload.convnets.layout import channels_last

        yield channels_last
    if asked.kernels == "operations":
        from simdml.workload.operations import with_operations

        yield with_operations
    if asked.autocast:
        from simdml.workload.autocast import with_autocast

        yield with_autocast
    elif asked.precision == "fp8":
        from simdml.workload.fp8 import with_fp8

        yield with_fp8
