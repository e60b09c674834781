"""A model written down as a list of layers, as a scenario file gives it.

Each entry is a mapping with a ``name``, a ``kind`` and the keys of that kind; sizes are for one sample, FLOPs and
bytes too, parameters are whole. Optional for every kind: ``block``, by which consecutive entries are placed
together (its own block otherwise), and ``output_bytes``, where the next block needs something else than this
layer's output.

==============  ======================================================  ====================================
kind            required                                                optional
==============  ======================================================  ====================================
linear          inputs, outputs                                         rows (1), bias (true)
convolution     channels_in, channels_out, kernel, height, width        stride (1), padding (0), bias (false)
attention       heads, sequence, head_size                              kv_heads (heads), causal (true)
normalization   elements                                                parameters (0)
elementwise     elements                                                inputs (1)
embedding       rows, width                                             lookups (1)
measured        forward_flops                                           parameters (0), backward_flops (2x
                                                                        forward), bytes (activation and output),
                                                                        activation_bytes (0), output_bytes (0)
==============  ======================================================  ====================================

``kind`` may be left out of an entry with ``forward_flops``. ``measured`` bytes are forward's traffic besides its
parameters; backward moves twice forward's (two products read what one read).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from simdml.errors import DocumentError, UnknownNameError, did_you_mean
from simdml.workload.convnets.network import FeatureMap, Network
from simdml.workload.linear import linear
from simdml.workload.microbatch import AttentionKernel, GradientAccumulation, Microbatch
from simdml.workload.model import Activation, Block, Layer, Model, Parameter, model_flops
from simdml.workload.operators import Family, Operator, Phase, attention

COMMON_KEYS = frozenset({"name", "kind", "block", "output_bytes"})


def build_custom(
    name: str,
    layers: Sequence[Mapping[str, Any]],
    *,
    samples: int,
    element_bytes: int = 4,
    sample_unit: str = "images",
    tokens_per_sample: int = 1,
    gradient_accumulation: str = "none",
) -> Model:
    """Return one micro-batch of ``samples`` through ``layers``, in forward order.

    Raises DocumentError for an empty list and for a key that is missing, unknown or wrong, naming the layer;
    UnknownNameError for an unknown ``kind``.
    """
    if not layers:
        raise DocumentError(f"model {name}: a custom model needs at least one layer")
    if samples < 1 or element_bytes < 1:
        raise DocumentError(f"model {name}: samples and element_bytes must be at least 1")
    batch = Microbatch(
        samples=samples,
        sequence=1,
        element_bytes=element_bytes,
        attention=AttentionKernel.FLASH,
        fused_elementwise=False,
        dropout=False,
        causal=True,
        gradient_accumulation=GradientAccumulation(gradient_accumulation),
    )
    blocks = tuple(_blocks(batch, [_Entry(index, keys) for index, keys in enumerate(layers)]))
    return Model(
        name=name,
        blocks=blocks,
        samples=samples,
        sample_unit=sample_unit,
        tokens_per_sample=tokens_per_sample,
        model_flops_per_sample=model_flops(blocks) / samples,
        element_bytes=element_bytes,
    )


class _Entry:
    """One entry of the list, read with errors that say which layer and key are wrong."""

    def __init__(self, index: int, keys: Mapping[str, Any]) -> None:
        self.keys = keys
        self.name = str(keys.get("name", f"layer{index}"))
        self.where = f"layers[{index}] ({self.name})"
        self.kind = str(keys.get("kind", "measured" if "forward_flops" in keys else ""))
        if self.kind not in KINDS:
            raise UnknownNameError("layer kind", self.kind, KINDS)
        known = KINDS[self.kind].keys | COMMON_KEYS
        for key in keys:
            if key not in known:
                raise DocumentError(f'{self.where}: unknown key "{key}"{did_you_mean(str(key), known)}')

    @property
    def block(self) -> str:
        return str(self.keys.get("block", self.name))

    def number(self, key: str, default: float | None = None) -> float:
        value = self.keys.get(key, default)
        if value is None:
            raise DocumentError(f'{self.where}: a {self.kind} layer needs "{key}"')
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise DocumentError(f'{self.where}: "{key}" must be a number not below 0, got {value!r}')
        return value

    def size(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        value = self.number(key, default)
        if value != int(value) or value < least:
            raise DocumentError(f'{self.where}: "{key}" must be an integer of at least {least}, got {value!r}')
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.keys.get(key, default)
        if not isinstance(value, bool):
            raise DocumentError(f'{self.where}: "{key}" must be true or false, got {value!r}')
        return value


def _blocks(batch: Microbatch, entries: list[_Entry]) -> Iterable[Block]:
    """Consecutive entries of one block name; the last block hands on nothing unless it says so."""
    named: set[str] = set()
    groups = [(name, list(group)) for name, group in groupby(entries, key=lambda entry: entry.block)]
    for name, group in groups:
        if name in named:
            raise DocumentError(f'{group[0].where}: block "{name}" is not consecutive')
        named.add(name)
        built = [KINDS[entry.kind].build(batch, entry) for entry in group]
        output_bytes = batch.samples * group[-1].number("output_bytes", built[-1][1])
        yield Block(name, tuple(layer for layer, _ in built), float(output_bytes))


def _linear(batch: Microbatch, entry: _Entry) -> tuple[Layer, float]:
    rows, inputs, outputs = entry.size("rows", 1), entry.size("inputs"), entry.size("outputs")
    built = linear(batch, entry.name, batch.samples * rows, inputs, outputs, bias=entry.flag("bias", True))
    kept = batch.kept("input", batch.samples * rows * inputs)
    layer = Layer(entry.name, built.forward, built.backward, built.parameters, (kept,))
    return layer, float(batch.element_bytes * rows * outputs)


def _convolution(batch: Microbatch, entry: _Entry) -> tuple[Layer, float]:
    network = Network(batch)
    x = FeatureMap(entry.size("channels_in"), entry.size("height"), entry.size("width"))
    y = network.convolution(
        entry.name,
        x,
        entry.size("channels_out"),
        entry.size("kernel"),
        stride=entry.size("stride", 1),
        padding=entry.size("padding", 0, least=0),
        bias=entry.flag("bias", False),
    )
    return network.layers[0], float(batch.element_bytes * y.size)


def _attention(batch: Microbatch, entry: _Entry) -> tuple[Layer, float]:
    heads, sequence, head_size = entry.size("heads"), entry.size("sequence"), entry.size("head_size")
    kv_heads, causal = entry.size("kv_heads", heads), entry.flag("causal", True)
    if heads % kv_heads:
        raise DocumentError(f'{entry.where}: "kv_heads" must divide "heads"')
    forward, backward = (
        attention(
            name,
            batch=batch.samples,
            heads=heads,
            kv_heads=kv_heads,
            sequence=sequence,
            head_size=head_size,
            element_bytes=batch.element_bytes,
            causal=causal,
            phase=phase,
        )
        for name, phase in (
            (entry.name, Phase.FORWARD),
            (f"{entry.name}_gradient", Phase.INPUT_GRADIENT),
        )
    )
    width = sequence * head_size
    kept = batch.kept("query_key_value_output", batch.samples * width * 2 * (heads + kv_heads))
    layer = Layer(entry.name, (forward,), (backward,), activations=(kept,))
    return layer, float(batch.element_bytes * width * heads)


def _normalization(batch: Microbatch, entry: _Entry) -> tuple[Layer, float]:
    elements, weights = entry.size("elements"), entry.size("parameters", 0, least=0)
    layer = _memory_bound(batch, entry, elements, Family.NORMALIZATION, (2, 4))
    parameters = (Parameter("weight", weights),) if weights else ()
    backward = (*layer.backward, *batch.accumulate(f"{entry.name}_accumulate", weights))
    layer = Layer(layer.name, layer.forward, backward, parameters, layer.activations)
    return layer, float(batch.element_bytes * elements)


def _elementwise(batch: Microbatch, entry: _Entry) -> tuple[Layer, float]:
    elements, inputs = entry.size("elements"), entry.size("inputs", 1)
    reads = (inputs, inputs + 1)
    layer = _memory_bound(batch, entry, elements, Family.ELEMENTWISE, reads)
    return layer, float(batch.element_bytes * elements)


def _memory_bound(batch: Microbatch, entry: _Entry, elements: int, family: Family, reads: tuple[int, int]) -> Layer:
    total = batch.samples * elements
    forward = batch.kernel(entry.name, reads[0] * total, total, family=family)
    backward = batch.kernel(
        f"{entry.name}_gradient", reads[1] * total, total, family=family, phase=Phase.INPUT_GRADIENT
    )
    return Layer(entry.name, (forward,), (backward,), activations=(batch.kept("input", total),))


def _embedding(batch: Microbatch, entry: _Entry) -> tuple[Layer, float]:
    """A dense gradient: the table is zeroed, then rows are added."""
    rows, width, lookups = entry.size("rows"), entry.size("width"), entry.size("lookups", 1)
    total = batch.samples * lookups * width
    forward = batch.kernel(entry.name, total, total, family=Family.EMBEDDING)
    backward = batch.kernel(
        f"{entry.name}_gradient",
        total,
        rows * width + total,
        family=Family.EMBEDDING,
        phase=Phase.WEIGHT_GRADIENT,
        launches=2,
    )
    accumulation = batch.accumulate(f"{entry.name}_accumulate", rows * width)
    parameters = (Parameter("weight", rows * width),)
    layer = Layer(entry.name, (forward,), (backward, *accumulation), parameters)
    return layer, float(batch.element_bytes * lookups * width)


def _measured(batch: Microbatch, entry: _Entry) -> tuple[Layer, float]:
    """Backward is half input gradient and half weight gradient, or all input gradient without parameters."""
    forward_flops = entry.number("forward_flops")
    backward_flops = entry.number("backward_flops", 2 * forward_flops)
    weights = entry.size("parameters", 0, least=0)
    kept, output = entry.number("activation_bytes", 0), entry.number("output_bytes", 0)
    moved = entry.number("bytes", kept + output)

    def product(phase: Phase, flops: float, passes: float) -> Operator:
        return Operator(
            name=entry.name if phase is Phase.FORWARD else f"{entry.name}_{phase}",
            family=Family.MATMUL,
            phase=phase,
            flops=batch.samples * flops,
            read_bytes=passes * (batch.samples * moved / 2 + batch.element_bytes * weights),
            written_bytes=passes * batch.samples * moved / 2,
            element_bytes=batch.element_bytes,
        )

    halves = (Phase.INPUT_GRADIENT, Phase.WEIGHT_GRADIENT) if weights else (Phase.INPUT_GRADIENT,)
    layer = Layer(
        name=entry.name,
        forward=(product(Phase.FORWARD, forward_flops, 1.0),),
        backward=(
            *(product(phase, backward_flops / len(halves), 2 / len(halves)) for phase in halves),
            *batch.accumulate(f"{entry.name}_accumulate", weights),
        ),
        parameters=(Parameter("weight", weights),) if weights else (),
        activations=(Activation("kept", float(batch.samples * kept)),) if kept else (),
    )
    return layer, float(output)


@dataclass(frozen=True, slots=True)
class _Kind:
    keys: frozenset[str]
    build: Callable[[Microbatch, _Entry], tuple[Layer, float]]


KINDS: Mapping[str, _Kind] = {
    "linear": _Kind(frozenset({"inputs", "outputs", "rows", "bias"}), _linear),
    "convolution": _Kind(
        frozenset(
            {
                "channels_in",
                "channels_out",
                "kernel",
                "height",
                "width",
                "stride",
                "padding",
                "bias",
            }
        ),
        _convolution,
    ),
    "attention": _Kind(frozenset({"heads", "kv_heads", "sequence", "head_size", "causal"}), _attention),
    "normalization": _Kind(frozenset({"elements", "parameters"}), _normalization),
    "elementwise": _Kind(frozenset({"elements", "inputs"}), _elementwise),
    "embedding": _Kind(frozenset({"rows", "width", "lookups"}), _embedding),
    "measured": _Kind(
        frozenset({"parameters", "forward_flops", "backward_flops", "bytes", "activation_bytes"}),
        _measured,
    ),
}
