"""Sections of a document whose models are imported when a document has them: most documents have few."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import pydantic_core
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter, ValidationInfo
from pydantic_core import CoreSchema, core_schema

UNTITLED = "untitled"
"""Marks in a core schema what is described by a type of its own, and so needs no title after its field."""


def section(home: str) -> Any:
    """Return what stands for the type at ``home``, ``package.module:Name``, in the annotations of a model.

    Documents are read, refused and described in a JSON Schema as with the type itself.
    """
    return Annotated[Any, _Section(home)]


@cache
def _adapter(home: str) -> TypeAdapter[Any]:
    module, _, name = home.partition(":")
    return TypeAdapter(getattr(import_module(module), name))


@dataclass(frozen=True, slots=True)
class _Section:
    home: str

    def validate(self, value: object, info: ValidationInfo) -> Any:
        """Return ``value`` as the type; pydantic puts the places of what is wrong below the field's own."""
        adapter = _adapter(self.home)
        if info.mode == "json":
            return adapter.validate_json(pydantic_core.to_json(value), strict=True)
        return adapter.validate_python(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self.validate, metadata={UNTITLED: True})

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        # The handler is for this schema alone; through definitions it gives the type one of its own.
        return handler(core_schema.definitions_schema(_adapter(self.home).core_schema, []))
