"""Field types of documents: pydantic types that read "80 GiB" and give a float in SI.

Each refuses zero, unless its name ends in ``OrZero``. Their JSON Schema is a string with a pattern and examples,
so that an editor completes and checks them; as JSON they are written back exactly, in the SI unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema, core_schema

from simdml import units
from simdml.documents.sections import UNTITLED
from simdml.documents.sentences import sentences


class DocumentModel(BaseModel):
    """A mapping in a document: unknown keys refused, immutable, numbers finite.

    A sentence below a field is its description in the JSON Schema.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, sentence in sentences(cls).items():
            field = properties.get(name)
            if field is not None and handler.resolve_ref_schema(field).get("description") != sentence:
                field["description"] = cls.model_fields[name].description or sentence
        return schema

    @classmethod
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
        """Return the JSON Schema of the document, in which defaults of quantities are written with units."""
        options.setdefault("schema_generator", DocumentSchema)
        return super().model_json_schema(*args, **options)


class DocumentSchema(GenerateJsonSchema):
    """pydantic's JSON Schema with the defaults of quantities as text ("1e-06 s"), as a file would have them."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return whether a field needs a title: a section is described by its own type."""
        return UNTITLED not in schema.get("metadata", {}) and super().field_title_should_be_set(schema)

    def get_default_value(self, schema: core_schema.WithDefaultSchema) -> Any:
        """Return the default of a field, written as in a document."""
        default = super().get_default_value(schema)
        serialization: Any = schema["schema"].get("serialization", {})
        quantity = getattr(serialization.get("function"), "__self__", None)
        if isinstance(quantity, Quantity) and isinstance(default, int | float):
            return quantity.write(default)
        return default


@dataclass(frozen=True, slots=True)
class Quantity:
    """Makes pydantic read a field in ``dimension``."""

    dimension: units.Dimension
    allow_zero: bool = False

    def parse(self, value: object) -> float:
        """Return ``value`` in SI; raises UnitError, which pydantic reports as an error of the field."""
        if self.dimension.bare:
            return units.read_whole(value, self.dimension, allow_zero=self.allow_zero)
        return float(units.read(value, self.dimension, allow_zero=self.allow_zero))

    def write(self, value: float) -> str | int:
        """Return text that :meth:`parse` reads back to the same float."""
        if self.dimension.bare:
            return int(value)
        if self.dimension is units.PERCENT:
            return f"{repr_percent(value)} %"
        return f"{value!r} {self.dimension.symbol}"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        serialization = core_schema.plain_serializer_function_ser_schema(self.write, when_used="json")
        return core_schema.no_info_plain_validator_function(self.parse, serialization=serialization)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        name = self.dimension.name.removeprefix("an ").removeprefix("a ")
        text: dict[str, Any] = {"type": "string", "pattern": self.dimension.pattern}
        described = {
            "description": f"{name[0].upper()}{name[1:]}: {self.dimension.expected}.",
            "examples": list(self.dimension.examples),
        }
        if self.dimension.bare:
            return {"anyOf": [{"type": "integer", "minimum": 0 if self.allow_zero else 1}, text], **described}
        return {**text, **described}


def repr_percent(fraction: float) -> str:
    """Return 100 times ``fraction`` in the fewest decimal digits that are read back exactly."""
    return f"{Decimal(repr(fraction)).scaleb(2).normalize():f}"


Bytes = Annotated[float, Quantity(units.BYTES)]
BytesOrZero = Annotated[float, Quantity(units.BYTES, allow_zero=True)]
Bandwidth = Annotated[float, Quantity(units.BANDWIDTH)]
Seconds = Annotated[float, Quantity(units.TIME)]
SecondsOrZero = Annotated[float, Quantity(units.TIME, allow_zero=True)]
FlopsRate = Annotated[float, Quantity(units.FLOPS)]
Count = Annotated[int, Quantity(units.COUNT)]
CountOrZero = Annotated[int, Quantity(units.COUNT, allow_zero=True)]
SampleRate = Annotated[float, Quantity(units.SAMPLES)]
Steps = Annotated[int, Quantity(units.STEPS)]
Power = Annotated[float, Quantity(units.POWER)]
Percent = Annotated[float, Quantity(units.PERCENT)]
PercentOrZero = Annotated[float, Quantity(units.PERCENT, allow_zero=True)]
Money = Annotated[float, Quantity(units.MONEY)]
HourlyPrice = Annotated[float, Quantity(units.HOURLY_PRICE, allow_zero=True)]
DataPrice = Annotated[float, Quantity(units.DATA_PRICE)]
StoragePrice = Annotated[float, Quantity(units.STORAGE_PRICE)]
CarbonIntensity = Annotated[float, Quantity(units.CARBON_INTENSITY, allow_zero=True)]
Frequency = Annotated[float, Quantity(units.FREQUENCY)]
