"""The JSON Schema of scenario files, for editors and for explanations."""

from __future__ import annotations

from typing import Any

from simdml.cluster.schema import ClusterSpec
from simdml.scenario.schema.scenario import ScenarioSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCES = "#/$defs/"
_OWN_PREFIX = "Cluster."


def scenario_schema() -> dict[str, Any]:
    """Return the schema of a scenario file, of which ``extends`` may leave anything out."""
    schema = described_schema()
    schema["properties"]["extends"] = {"description": "A scenario this one changes, beside it.", "type": "string"}
    required = schema.pop("required")
    schema["anyOf"] = [{"required": ["extends"]}, {"required": required}]
    return {"$schema": DIALECT, **schema}


def described_schema() -> dict[str, Any]:
    """Return the schema of a whole scenario; in ``cluster`` every key of a cluster is known and none required."""
    schema = ScenarioSpec.model_json_schema()
    cluster = ClusterSpec.model_json_schema()
    definitions = schema["$defs"]
    for name, definition in cluster.pop("$defs").items():
        definitions[_OWN_PREFIX + name] = _as_changes(definition)
    definitions["Cluster"] = _as_changes(cluster)
    name, _ = schema["properties"]["cluster"]["anyOf"]
    described = {"description": "The bundled cluster or file that the other keys change."}
    definitions["Cluster"]["properties"]["name"] = name | described
    schema["properties"]["cluster"]["anyOf"] = [name, {"$ref": f"{_REFERENCES}Cluster"}]
    return schema


def _as_changes(schema: Any) -> Any:
    """Return ``schema`` with nothing required, and its references moved to the cluster's definitions."""
    if isinstance(schema, list):
        return [_as_changes(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: _as_changes(value) for key, value in schema.items() if key != "required"}
    if isinstance(reference := changed.get("$ref"), str):
        changed["$ref"] = _REFERENCES + _OWN_PREFIX + reference.removeprefix(_REFERENCES)
    return changed
