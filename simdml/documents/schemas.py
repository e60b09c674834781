"""What a JSON Schema allows at a path: the keys of a mapping, the description of a value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Schema = dict[str, Any]


class SchemaTree:
    """A JSON Schema with its definitions, walked one step of a document path at a time.

    A position is a list of schemas, the alternatives that may apply there.
    """

    def __init__(self, root: Schema) -> None:
        self._definitions: Schema = root.get("$defs", {})
        self.root: list[Schema] = [root]

    def resolve(self, position: Iterable[Schema]) -> list[Schema]:
        """Return ``position`` with references followed and unions spread out."""
        found: list[Schema] = []
        for schema in position:
            if "$ref" in schema:
                found += self.resolve([self._definitions[schema["$ref"].rsplit("/", 1)[-1]]])
            elif branches := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
                found += self.resolve(branches)
            else:
                found.append(schema)
        return found

    def tags(self, position: Iterable[Schema]) -> Schema:
        """Return the tags of a discriminated union and the schema each stands for."""
        found: Schema = {}
        for schema in position:
            if "$ref" in schema:
                found |= self.tags([self._definitions[schema["$ref"].rsplit("/", 1)[-1]]])
            elif "discriminator" in schema:
                mapping = schema["discriminator"].get("mapping", {})
                found |= {tag: {"$ref": reference} for tag, reference in mapping.items()}
            elif "anyOf" in schema:
                found |= self.tags(schema["anyOf"])
        return found

    def branch(self, position: list[Schema], tag: str) -> list[Schema]:
        """Return the branch of a union that pydantic calls ``tag``, or all where it is not recognised."""
        if (chosen := self.tags(position).get(tag)) is not None:
            return [chosen]
        return [schema for schema in self.resolve(position) if schema.get("title") == tag] or position

    def inside(self, position: list[Schema], step: str | int) -> list[Schema]:
        """Return the position one ``step`` deeper."""
        found: list[Schema] = []
        for schema in self.resolve(position):
            if isinstance(step, int):
                fixed = schema.get("prefixItems", [])
                inner = fixed[step] if step < len(fixed) else schema.get("items")
            else:
                inner = schema.get("properties", {}).get(step, schema.get("additionalProperties"))
            if isinstance(inner, dict):
                found.append(inner)
        return found

    def keys(self, position: list[Schema]) -> list[str]:
        """Return the keys a mapping here may have, in the order of the schema."""
        return list(dict.fromkeys(key for schema in self.resolve(position) for key in schema.get("properties", {})))

    def description(self, position: list[Schema]) -> str | None:
        """Return the first line that describes a value here, if there is one."""
        for schema in [*position, *self.resolve(position)]:
            if text := schema.get("description"):
                return " ".join(str(text).split("\n\n")[0].split())
        return None
