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
    kept_in_lists = _item_models(schema)
    for name, definition in schema.get("$defs", {}).items():
        if name not in kept_in_lists:
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


def _item_models(schema: dict[str, Any]) -> set[str]:
    """Models that stand in lists: `extends` replaces lists as a whole, so what they require must be in the file."""
    found: set[str] = set()

    def walk(value: Any, in_list: bool) -> None:
        if isinstance(value, list):
            for item in value:
                walk(item, in_list)
        elif isinstance(value, dict):
            if in_list and isinstance(value.get("$ref"), str):
                name = value["$ref"].rsplit("/", 1)[-1]
                if name not in found:
                    found.add(name)
                    walk(schema["$defs"][name].get("properties", {}), True)
            for key, item in value.items():
                walk(item, in_list or key in ("items", "prefixItems"))

    walk({k: v for k, v in schema.items() if k != "$defs"}, False)
    for definition in schema.get("$defs", {}).values():
        walk(definition, False)
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
