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
# Where a text is wanted, a template may be a part of it.
_TEXT_TEMPLATE = {"type": "string", "pattern": r"\$\{\{.*\}\}", "title": "Text with a template"}
_TEMPLATED_TYPES = ("integer", "number", "boolean")
# What a mapping must hold to be complete; an extended file may give it.
_COMPLETENESS = ("required", "anyOf")


def file_schema(model: type[BaseModel], *, identifier: str, title: str) -> dict[str, Any]:
    """The schema of a YAML file of this document."""
    schema = model.model_json_schema(by_alias=True)
    mergeable = _mergeable_models(schema)
    complete: dict[str, dict[str, Any]] = {}
    for name, definition in schema.get("$defs", {}).items():
        if name in mergeable:
            complete[name] = {k: definition.pop(k) for k in _COMPLETENESS if k in definition}
        _allow_templates(definition)
    _allow_templates(schema)
    whole = _whole(schema, complete)
    schema["properties"] = {
        **schema["properties"],
        KEY: {"type": "string", "title": "Extends", "description": "One other document that this one is laid over."},
    }
    schema["anyOf"] = [{"required": [KEY]}, whole]
    return {"$schema": DIALECT, "$id": identifier, **schema, "title": title}


def schema_text(schema: dict[str, Any]) -> str:
    """The schema as it stands in a file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _whole(schema: dict[str, Any], complete: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What a file without `extends` must hold: the keys, and what its mappings need to be complete."""
    parts = {key: complete.get(_name_of(field)) for key, field in schema["properties"].items()}
    return {"required": schema.pop("required", []), "properties": {key: part for key, part in parts.items() if part}}


def _name_of(field: dict[str, Any]) -> str:
    """The name of the model that a field refers to; empty if it is none."""
    return str(field.get("$ref", "")).rsplit("/", 1)[-1]


def _mergeable_models(schema: dict[str, Any]) -> set[str]:
    """Models that stand in mappings: `extends` merges those key by key, but replaces lists as a whole."""
    found: set[str] = set()
    waiting: list[Any] = [schema.get("properties", {})]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            name = _name_of(value)
            if name and name not in found:
                found.add(name)
                waiting.append(schema["$defs"][name].get("properties", {}))
            waiting += [item for key, item in value.items() if key not in ("items", "prefixItems")]
    return found


def _allow_templates(definition: dict[str, Any]) -> None:
    for name, field in definition.get("properties", {}).items():
        members = field["anyOf"] if isinstance(field.get("anyOf"), list) else [field]
        template = _template_for(members)
        if template is None:
            continue
        if members is not field.get("anyOf"):
            about = {k: field.pop(k) for k in ("title", "description", "default", "examples") if k in field}
            definition["properties"][name] = {"anyOf": [field, template], **about}
        else:
            members.append(template)


def _template_for(members: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The template that may stand for any of these kinds of value; None when they take every text anyway."""
    texts = [m for m in members if m.get("type") == "string" and not {"enum", "const"} & m.keys()]
    if texts:
        return _TEXT_TEMPLATE if all("pattern" in m for m in texts) else None
    closed = any({"enum", "const"} & m.keys() or m.get("type") in _TEMPLATED_TYPES for m in members)
    return _TEMPLATE if closed else None
