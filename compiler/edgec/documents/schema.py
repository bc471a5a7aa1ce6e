"""JSON Schema of a document's file, for completion and checks in an editor.

Rule: made from the model only. A file may hold less than the typed document (`extends:` gives the rest) and templates
where the document has numbers, and the schema says so.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from edgec.documents.extend import KEY

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TEMPLATE = {"type": "string", "pattern": r"^\s*\$\{\{.*\}\}\s*$", "title": "Template"}
_TEMPLATED_TYPES = ("integer", "number", "boolean")


def file_schema(model: type[BaseModel], *, identifier: str, title: str) -> dict[str, Any]:
    """The schema of a YAML file of this document."""
    schema = model.model_json_schema(by_alias=True)
    mergeable = _mergeable_models(schema)
    for name, definition in schema.get("$defs", {}).items():
        if name in mergeable:
            definition.pop("required", None)  # an extended file may hold the rest
        _allow_templates(definition)
    _allow_templates(schema)
    required = schema.pop("required", [])
    schema["properties"] = {
        **schema["properties"],
        KEY: {"type": "string", "title": "Extends", "description": "One other document that this one is laid over."},
    }
    schema["anyOf"] = [{"required": [KEY]}, {"required": required}]
    return {"$schema": DIALECT, "$id": identifier, **schema, "title": title}


def schema_text(schema: dict[str, Any]) -> str:
    """The schema as it stands in a file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _mergeable_models(schema: dict[str, Any]) -> set[str]:
    """Models that stand in mappings: `extends` merges those key by key, but replaces lists as a whole."""
    found: set[str] = set()
    waiting: list[Any] = [schema.get("properties", {})]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            name = str(value.get("$ref", "")).rsplit("/", 1)[-1]
            if name and name not in found:
                found.add(name)
                waiting.append(schema["$defs"][name].get("properties", {}))
            waiting += [item for key, item in value.items() if key not in ("items", "prefixItems")]
    return found


def _allow_templates(definition: dict[str, Any]) -> None:
    for name, field in definition.get("properties", {}).items():
        if field.get("type") in _TEMPLATED_TYPES:
            about = {k: field.pop(k) for k in ("title", "description", "default") if k in field}
            definition["properties"][name] = {"anyOf": [field, _TEMPLATE], **about}
        elif isinstance(field.get("anyOf"), list) and any(o.get("type") in _TEMPLATED_TYPES for o in field["anyOf"]):
            field["anyOf"].append(_TEMPLATE)
        elif "enum" in field:
            about = {k: field.pop(k) for k in ("title", "description", "default") if k in field}
            definition["properties"][name] = {"anyOf": [field, _TEMPLATE], **about}
