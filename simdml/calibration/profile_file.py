"""The file format of a profile: strict YAML in which every number says where it came from.

A profile of another device may ``extends`` that of the nearest measured one and state only what differs. What it
inherits counts as derived there, however it was found on the device it comes from: nothing was measured on this one.
One that names no devices is of the same ones, with other software say, and inherits numbers as they were found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field

from simdml.calibration.curves import AttentionCurve, ConvolutionCurve, MatmulCurve, StreamCurve, Tile
from simdml.calibration.profile import Mark, MemoryCoefficients, Profile, Provenance, Range
from simdml.documents.document import Document
from simdml.documents.loading import load_document
from simdml.documents.quantities import DocumentModel
from simdml.documents.validation import validate
from simdml.errors import DocumentError

Precision = Literal["fp32", "tf32", "fp16", "bf16", "fp8"]
ProductFamily = Literal["matmul", "batched_matmul", "attention", "convolution"]
StreamFamily = Literal["normalization", "softmax", "elementwise", "pooling", "embedding", "loss", "optimizer", "copy"]
Family = Literal[ProductFamily, StreamFamily]


class _Number(DocumentModel):
    """A number in SI, its mark, and the key of its source."""

    value: Annotated[float, Field(ge=0.0)]
    mark: Mark
    source: str


class _Tile(DocumentModel):
    m: Annotated[int, Field(gt=0)]
    n: Annotated[int, Field(gt=0)]
    efficiency: _Number


class _Matmul(DocumentModel):
    plateau: _Number
    prologue_depth: _Number
    wave_quantization: _Number
    memory_efficiency: _Number
    sharpness: _Number
    max_split: _Number
    floor_s: _Number
    tiles: Annotated[tuple[_Tile, ...], Field(min_length=1)]


class _Convolution(DocumentModel):
    """Modifiers of the matmul curve of the same precision; the optional ones replace its coefficients."""

    efficiency: _Number
    winograd: _Number
    input_gradient: _Number
    weight_gradient: _Number
    winograd_prologue_depth: _Number
    prologue_depth: _Number | None = None
    memory_efficiency: _Number | None = None
    sharpness: _Number | None = None
    floor_s: _Number | None = None
    tiles: Annotated[tuple[_Tile, ...], Field(min_length=1)] | None = None
    pointwise: Literal["matmul", "convolution"] = "convolution"
    """Whether convolutions of one pixel are as fast as plain products, or as the other convolutions."""


class _Attention(DocumentModel):
    forward: _Number
    backward: _Number
    half_length: _Number
    head_size: _Number
    half_head: _Number
    floor_s: _Number


class _Stream(DocumentModel):
    plateau: _Number
    floor_s: _Number


class _Memory(DocumentModel):
    context_bytes: _Number
    communicator_bytes: _Number
    workspace_bytes: _Number
    allocator_factor: _Number


class _Range(DocumentModel):
    low: float
    high: float


class ProfileFile(DocumentModel):
    """A profile as written in a file."""

    devices: Annotated[tuple[str, ...], Field(min_length=1)]
    default: bool
    software: str
    date: str
    sources: dict[str, str]
    does_not_claim: Annotated[tuple[str, ...], Field(min_length=1)]
    validity: dict[str, _Range]
    matmul: Annotated[dict[Precision, _Matmul], Field(min_length=1)]
    batched_matmul: dict[Precision, _Matmul]
    convolution: dict[Precision, _Convolution]
    attention: dict[Precision, _Attention]
    streams: dict[StreamFamily, _Stream]
    batch_norm: _Stream | None = None
    """Normalization over the pixels of images, where it is not as fast as that over the features of rows."""
    host_launch_s: _Number
    memory: _Memory
    spread: dict[Family, _Number]


def read_profile(path: Path) -> Profile:
    """Return the profile in the file at ``path``, named after the file; raises DocumentError."""
    document = load_document(path)
    content = validate(document, ProfileFile)
    _check_families(content, document)
    provenance = {dotted: _provenance(content, document, dotted, number) for dotted, number in _numbers(content)}
    matmul: dict[str, MatmulCurve] = {p: _matmul(curve) for p, curve in content.matmul.items()}
    batched: dict[str, MatmulCurve] = {p: _matmul(curve) for p, curve in content.batched_matmul.items()}
    return Profile(
        name=path.stem,
        devices=content.devices,
        default=content.default,
        software=content.software,
        date=content.date,
        sources=MappingProxyType(content.sources),
        does_not_claim=content.does_not_claim,
        validity=MappingProxyType({name: Range(r.low, r.high) for name, r in content.validity.items()}),
        matmul=MappingProxyType(matmul),
        batched_matmul=MappingProxyType(matmul | batched),
        convolution=MappingProxyType(
            {p: _convolution(curve, matmul, document, p) for p, curve in content.convolution.items()}
        ),
        attention=MappingProxyType({p: AttentionCurve(**_values(c)) for p, c in content.attention.items()}),
        batch_norm=StreamCurve(**_values(content.batch_norm)) if content.batch_norm else None,
        streams=MappingProxyType({family: StreamCurve(**_values(c)) for family, c in content.streams.items()}),
        host_launch_s=content.host_launch_s.value,
        memory=MemoryCoefficients(**_values(content.memory)),
        spread=MappingProxyType({family: number.value for family, number in content.spread.items()}),
        provenance=MappingProxyType(provenance),
    )


def _values(curve: BaseModel) -> dict[str, float]:
    return {name: number.value for name, number in curve if isinstance(number, _Number)}


def _matmul(curve: _Matmul) -> MatmulCurve:
    values: dict[str, Any] = _values(curve)
    values["max_split"] = int(values["max_split"])
    return MatmulCurve(**values, tiles=_tiles(curve.tiles))


def _convolution(
    curve: _Convolution, matmul: Mapping[str, MatmulCurve], document: Document, precision: str
) -> ConvolutionCurve:
    if precision not in matmul:
        raise DocumentError(
            f"convolution.{precision} modifies matmul.{precision}, which is missing",
            place=document.key_place(("convolution", precision)),
        )
    values = _values(curve)
    names = ("efficiency", "winograd", "input_gradient", "weight_gradient")
    own: dict[str, Any] = {name: values.pop(name) for name in names}
    winograd_prologue_depth = values.pop("winograd_prologue_depth")
    replaced: dict[str, Any] = dict(values)
    if curve.tiles is not None:
        replaced["tiles"] = _tiles(curve.tiles)
    products = replace(matmul[precision], **replaced)
    if curve.pointwise == "matmul":
        own["pointwise"] = replace(matmul[precision], floor_s=products.floor_s)
    return ConvolutionCurve(products, replace(products, prologue_depth=winograd_prologue_depth), **own)


def _tiles(tiles: tuple[_Tile, ...]) -> tuple[Tile, ...]:
    return tuple(Tile(tile.m, tile.n, tile.efficiency.value) for tile in tiles)


def _numbers(content: BaseModel | tuple[Any, ...] | dict[Any, Any], path: str = "") -> Iterator[tuple[str, _Number]]:
    """Yield every number below ``content`` with its dotted path."""
    if isinstance(content, _Number):
        yield path, content
        return
    entries: Any = enumerate(content) if isinstance(content, tuple) else content
    if isinstance(content, dict):
        entries = content.items()
    for key, inner in entries:
        if isinstance(inner, BaseModel | tuple | dict):
            yield from _numbers(inner, f"{path}.{key}".removeprefix("."))


def _provenance(content: ProfileFile, document: Document, dotted: str, number: _Number) -> Provenance:
    place = document.place(tuple(int(step) if step.isdigit() else step for step in dotted.split(".")))
    if number.source not in content.sources:
        raise DocumentError(
            f"{dotted}: no source is called {number.source!r}",
            place=place,
            hint=f"sources of this file: {', '.join(content.sources)}",
        )
    source = content.sources[number.source]
    inherited, of_others = place.file != document.name, document.place(("devices",)).file == document.name
    if not (inherited and of_others) or number.mark is Mark.VENDOR:
        return Provenance(number.mark, source)
    return Provenance(Mark.DERIVED, f"carried over from profile {Path(place.file).stem}: {source}")


def _check_families(content: ProfileFile, document: Document) -> None:
    missing = [family for family in get_args(StreamFamily) if family not in content.streams]
    if missing:
        raise DocumentError(
            f"streams lacks {', '.join(missing)}", place=document.key_place(("streams",)), hint="every family needs one"
        )
