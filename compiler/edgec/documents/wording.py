"""The words of a type mistake: what a value must be, what it is, and what to do.

Rule: kinds are named as people name them (a whole number, a text, a list); a value from the environment is not shown.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from edgec.documents.marked import Mapping, Node, Place, Scalar, Step
from edgec.documents.marked import Sequence as ListNode
from edgec.documents.shape import keys_of, words_for

_SHOWN_CHARS = 60

# pydantic's error type -> what the value must be.
_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "string_unicode": "a text of Unicode characters",
    "bool_type": "`true` or `false`",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
# pydantic's error type -> words that take the bound from its context.
_BOUNDS = {
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "string_too_long": "at most {max_length} characters long",
    "string_too_short": "at least {min_length} characters long",
}


@dataclass(frozen=True)
class Wording:
    """What is wrong, and what to do about it."""

    message: str
    hint: str | None


def word(
    place: Place, group: Sequence[ErrorDetails], field: FieldInfo | None, model: type[BaseModel] | None
) -> Wording:
    """The words for the mistakes pydantic found at one place (several when a union refuses the value)."""
    name = f"`{path_text(place.path)}`" if place.path else "the document"
    error = group[0]
    kind, context = error["type"], error.get("ctx", {})
    if kind in ("literal_error", "union_tag_invalid"):
        names = f"{context.get('expected', '')}{context.get('expected_tags', '')}"
        quoted = re.findall(r"'([^']*)'", names)
        return _choice(name, place.node, quoted or re.findall(r"-?\d+", names), what="names" if quoted else "numbers")
    if kind == "string_pattern_mismatch":
        return Wording(f"{name} has the wrong form: {value_text(place.node)}", _form(field))
    if kind in ("too_short", "too_long"):
        return _count(name, place.node, kind, context, field)
    if kind in _BOUNDS:
        bound = _BOUNDS[kind].format(**{k: f"{v:g}" for k, v in context.items() if isinstance(v, (int, float))})
        bound = re.sub(r"\b1 characters\b", "1 character", bound)
        return Wording(f"{name} must be {bound}, not {value_text(place.node)}", _do(f"make it {bound}", field))
    if kind == "value_error":
        return Wording(f"{name} is not valid: {context.get('error')}", _do("change it", field))
    expected = list(dict.fromkeys(_KINDS[e["type"]] for e in group if e["type"] in _KINDS))
    if not expected:
        return Wording(f"{name} is not valid: {error['msg'][:1].lower()}{error['msg'][1:]}", _do("change it", field))
    return _kind(name, place.node, _either(expected), field, model)


def _choice(name: str, node: Node, valid: list[str], *, what: str) -> Wording:
    must = f"`{valid[0]}`" if len(valid) == 1 else f"one of the valid {what}"
    message = f"{name} must be {must}, not {value_text(node)}"
    is_guessed = what == "names" and isinstance(node, Scalar) and not node.from_env
    near = nearest(node.text, valid) if isinstance(node, Scalar) and is_guessed else None
    if len(valid) == 1:
        return Wording(message, f"write `{valid[0]}`")
    return Wording(message, (f"did you mean `{near}`? Valid: " if near else "choose one of: ") + listed(valid))


def _count(name: str, node: Node, kind: str, context: dict[str, Any], field: FieldInfo | None) -> Wording:
    limit = context["min_length"] if kind == "too_short" else context["max_length"]
    bound = f"{'at least' if kind == 'too_short' else 'at most'} {limit} item{'s' if limit != 1 else ''}"
    count = len(node.items) if isinstance(node, ListNode) else 0
    return Wording(f"{name} must have {bound}, not {count}", _do(f"give {bound}", field))


def _kind(name: str, node: Node, wanted: str, field: FieldInfo | None, model: type[BaseModel] | None) -> Wording:
    if isinstance(node, Scalar) and node.value is None:
        keys = f"give it keys ({listed(list(keys_of(model)))})" if model else f"give it {wanted}"
        return Wording(f"{name} is empty; it must be {wanted}", f"{keys}, or remove the line")
    message = f"{name} must be {wanted}, not {kind_text(node)}"
    if model is not None:
        return Wording(message, f"write its keys below it: {listed(list(keys_of(model)))}")
    if wanted == "a list":
        return Wording(message, "put `- ` before each item, or write `[a, b]`")
    if not isinstance(node, Scalar):
        return Wording(message, _do(f"write {wanted}", field))
    return Wording(message, _rewritten(node, wanted, field) or _do(f"write {wanted}", field))


def _rewritten(node: Scalar, wanted: str, field: FieldInfo | None) -> str | None:
    """How to write the same value so that it is taken."""
    if node.from_env:
        cast = {"a whole number": "int", "a number": "float"}.get(wanted)
        return f"add `| {cast}` to the template" if cast else None
    if wanted == "a text":
        return _form(field) if field is not None and words_for(field) else f'put it in quotes: "{node.text}"'
    if wanted not in ("a whole number", "a number") or not isinstance(node.value, str):
        return None
    if re.fullmatch(r"[-+]?\d+(\.\d+)?", node.text):
        # Without quotes it is a text only because no computer counts that far.
        is_quoted = node.span.source_line[node.span.column - 1 : node.span.column] in ("'", '"')
        return f"remove the quotes: {node.text}" if is_quoted else "write a smaller number"
    if thousands := re.fullmatch(r"(\d{1,6})[kK]", node.text):
        return f"write {int(thousands.group(1)) * 1024}"
    if re.fullmatch(r"\d{1,3}([,_ ]\d{3})+", node.text):
        return f"write {re.sub('[,_ ]', '', node.text)}"
    return None


def _form(field: FieldInfo | None) -> str:
    """What a text in this field must look like."""
    words = words_for(field) if field is not None else None
    hint = f"write {words}" if words else _do("change it", field)
    return f"{hint}, for example `{field.examples[0]}`" if field is not None and field.examples else hint


def _do(instruction: str, field: FieldInfo | None) -> str:
    """The instruction, and what the field is for."""
    return f"{instruction}. {field.description}" if field is not None and field.description else instruction


def _either(kinds: list[str]) -> str:
    """`a text, a number or a list`; a whole number is a number."""
    shorter = [k for k in kinds if k != "a whole number" or "a number" not in kinds]
    return " or ".join(part for part in (", ".join(shorter[:-1]), shorter[-1]) if part)


def kind_text(node: Node) -> str:
    """What a node is, with its value: "the text `abc`", "a list"."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, ListNode):
        return "a list"
    if node.from_env:
        return "the text from the environment" if isinstance(node.value, str) else "the value from the environment"
    kinds = {bool: "the truth value", int: "the whole number", float: "the number", str: "the text"}
    return f"{kinds.get(type(node.value), 'the value')} {value_text(node)}"


def value_text(node: Node) -> str:
    """A value as it is written; one from the environment stays hidden."""
    if not isinstance(node, Scalar):
        return kind_text(node)
    return "the value from the environment" if node.from_env else shown(node.text)


def shown(text: str) -> str:
    """`text` between backticks, on one line and not too long."""
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else "\ufffd" for c in line)
    return f"`{line if len(line) <= _SHOWN_CHARS else line[: _SHOWN_CHARS - 3] + '...'}`"


def path_text(path: Iterable[Step]) -> str:
    """`artifacts[0].quantize.scheme`."""
    return "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in path).removeprefix(".")


def listed(names: Sequence[str]) -> str:
    """Names between backticks, with commas."""
    return ", ".join(f"`{n}`" for n in names)


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name a person most likely meant, None if none is close."""
    folded = {v.lower().replace("-", "_"): v for v in valid}
    match = difflib.get_close_matches(name.lower().replace("-", "_"), folded, n=1, cutoff=0.6)
    return folded[match[0]] if match else None
