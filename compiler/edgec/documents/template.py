"""`${{ env.X }}` and `${{ vars.x }}` inside scalars: jinja2 expressions, of which only names, texts and a few filters.

Rules: an undefined name is a mistake, never an empty text; a scalar that is one expression keeps the type of its value;
what came from the environment is marked, so that no message shows it (it may be a secret).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from edgec.documents.marked import Entry, MarkedDocument, Node, Scalar, ScalarValue, Sequence, plain, scalars
from edgec.documents.marked import Mapping as MappingNode
from edgec.documents.wording import listed, nearest, shown
from edgec.documents.yaml import OPEN
from edgec.errors import Diagnostic, Span

_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_ROOTS = ("env", "vars")
_USE = "use `env.NAME`, `vars.name`, texts in quotes, `~` and the filters "


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja without attributes: `vars.items` is the variable `items`, never a method of dict."""

    def getitem(self, obj: Any, argument: Any) -> Any:
        try:
            return obj[argument]
        except LookupError:
            return self.undefined(obj=obj, name=argument)

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self.getitem(obj, attribute)


def _strict(kind: Callable[[str], ScalarValue]) -> Callable[[Any], ScalarValue]:
    """Jinja's own `int` turns what it cannot read into 0 without a word."""
    return lambda value: kind(str(value))


_JINJA = _Environment(undefined=StrictUndefined, variable_start_string=OPEN, variable_end_string="}}")
_KEPT = ("default", "lower", "replace", "trim", "upper")
_JINJA.filters = {name: _JINJA.filters[name] for name in _KEPT} | {"int": _strict(int), "float": _strict(float)}
_FILTERS = tuple(sorted(_JINJA.filters))


@dataclass(frozen=True)
class _Names:
    """What expressions can use. `secret_vars`: those whose value came from the environment."""

    env: Mapping[str, str]
    vars: Mapping[str, ScalarValue]
    secret_vars: frozenset[str] = frozenset()
    in_vars: bool = False


class _WrongTemplateError(Exception):
    """A mistake in an expression. `at`: the part of its text to underline, the whole where it is empty."""

    def __init__(self, message: str, hint: str, at: str = "") -> None:
        super().__init__(message)
        self.message, self.hint, self.at = message, hint, at


def render(marked: MarkedDocument, env: Mapping[str, str]) -> MarkedDocument:
    """`marked` with its templates replaced by their values; what cannot be is added to `mistakes`."""
    mistakes: list[Diagnostic] = []
    root = marked.root
    values: dict[str, ScalarValue] = {}
    secret: set[str] = set()
    entry = root.entry("vars")
    if entry is not None and isinstance(entry.value, MappingNode):
        rendered = _rendered(entry.value, _Names(env, {}, in_vars=True), mistakes)
        root = root.with_entry(Entry(entry.key, entry.span, rendered))
        values = {k: v for k, v in plain(rendered).items() if not isinstance(v, (dict, tuple)) and v is not None}
        secret = {e.key for e in _entries(rendered) if any(s.from_env for s in scalars(e.value))}
    rest = tuple(
        e if e.key == "vars" else replace(e, value=_rendered(e.value, _Names(env, values, frozenset(secret)), mistakes))
        for e in root.entries
    )
    return replace(marked, root=MappingNode(rest, root.span), mistakes=(*marked.mistakes, *mistakes))


def _entries(node: Node) -> tuple[Entry, ...]:
    return node.entries if isinstance(node, MappingNode) else ()


def _rendered(node: Node, names: _Names, mistakes: list[Diagnostic]) -> Node:
    if isinstance(node, MappingNode):
        return MappingNode(
            tuple(replace(e, value=_rendered(e.value, names, mistakes)) for e in node.entries), node.span
        )
    if isinstance(node, Sequence):
        return Sequence(tuple(_rendered(item, names, mistakes) for item in node.items), node.span)
    if not isinstance(node.value, str) or OPEN not in node.value:
        return node
    return _scalar(node, names, mistakes)


def _scalar(node: Scalar, names: _Names, mistakes: list[Diagnostic]) -> Scalar:
    text = node.text
    matches = list(_EXPRESSION.finditer(text))
    found: list[tuple[ScalarValue, bool]] = []
    before = len(mistakes)
    for number, match in enumerate(matches):
        span = node.expressions[number] if number < len(node.expressions) else node.span
        try:
            found.append(_evaluate(match.group(1), names))
        except _WrongTemplateError as wrong:
            mistakes.append(Diagnostic(wrong.message, wrong.hint, _narrowed(span, wrong.at)))
    if OPEN in _EXPRESSION.sub("", text):
        span = node.expressions[-1] if node.expressions else node.span
        mistakes.append(Diagnostic(f"`{OPEN}` without its `}}}}`", "close the template: `${{ vars.name }}`", span))
    if len(mistakes) > before:
        return replace(node, broken=True)
    from_env = any(secret for _, secret in found)
    values = iter(value for value, _ in found)
    if len(matches) == 1 and matches[0].group() == text.strip():
        value = next(values)
        return replace(node, value=value, text=str(value), expressions=(), from_env=from_env)
    joined = _EXPRESSION.sub(lambda _: str(next(values)), text)
    return replace(node, value=joined, text=joined, expressions=(), from_env=from_env)


def _narrowed(span: Span, part: str) -> Span:
    begin = span.column - 1
    at = span.source_line.find(part, begin, begin + span.length) if part else -1
    return span if at < 0 else replace(span, column=at + 1, length=len(part))


def _evaluate(expression: str, names: _Names) -> tuple[ScalarValue, bool]:
    """The value of one expression, and whether it came from the environment. Raises _WrongTemplateError."""
    if not expression.strip():
        raise _WrongTemplateError("the template is empty", "write `${{ vars.name }}` or `${{ env.NAME }}`")
    try:
        tree = _JINJA.parse(f"{OPEN}{expression}}}}}")
    except TemplateError as error:
        raise _WrongTemplateError(f"not a template expression: {error.message}", _USE + listed(_FILTERS)) from error
    _check_nodes(tree)
    used = list(_names_used(tree, defaulted=False))
    for root, name, defaulted in used:
        _check_name(root, name, defaulted, names)
    secret = any(root == "env" or name in names.secret_vars for root, name, _ in used)
    try:
        value = _JINJA.compile_expression(expression, undefined_to_none=False)(env=names.env, vars=names.vars)
    except (TemplateError, ValueError, TypeError) as error:
        what = "its value" if secret else f"it ({error})"
        raise _WrongTemplateError(
            f"the template cannot be evaluated: a filter does not take {what}", "check the value"
        ) from error
    return value, secret


def _check_nodes(tree: nodes.Template) -> None:
    """Only the forms that the documentation names: a recipe is data, not a program."""
    if len(tree.body) != 1 or not isinstance(tree.body[0], nodes.Output) or len(tree.body[0].nodes) != 1:
        raise _WrongTemplateError("not one template expression", _USE + listed(_FILTERS))
    waiting: list[nodes.Node] = [tree.body[0].nodes[0]]
    while waiting:
        node = waiting.pop()
        if _reference(node) is not None:
            continue
        if isinstance(node, nodes.Filter) and node.name not in _FILTERS:
            near = nearest(node.name, _FILTERS)
            hint = f"did you mean `{near}`? " if near else ""
            raise _WrongTemplateError(
                f"unknown filter {shown(node.name)}", f"{hint}Filters: {listed(_FILTERS)}", node.name
            )
        if isinstance(node, nodes.Name):
            hint = (
                f"write `vars.{node.name}` or `env.{node.name}`" if node.name not in _ROOTS else "add a name after it"
            )
            raise _WrongTemplateError(f"{shown(node.name)} alone is not a value", hint, node.name)
        if not isinstance(node, (nodes.Filter, nodes.Const, nodes.Concat)):
            raise _WrongTemplateError("this cannot be used in a template", _USE + listed(_FILTERS))
        waiting += node.iter_child_nodes()


def _reference(node: nodes.Node) -> tuple[str, str] | None:
    """`("vars", "x")` of `vars.x` and `vars["x"]`."""
    if not isinstance(node, (nodes.Getattr, nodes.Getitem)) or not isinstance(node.node, nodes.Name):
        return None
    name = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
    return (node.node.name, name) if isinstance(name, str) else None


def _names_used(node: nodes.Node, *, defaulted: bool) -> Iterator[tuple[str, str, bool]]:
    """(root, name, has a default) of every reference."""
    reference = _reference(node)
    if reference is not None:
        yield (*reference, defaulted)
        return
    for child in node.iter_child_nodes():
        is_default = isinstance(node, nodes.Filter) and node.name == "default" and child is node.node
        yield from _names_used(child, defaulted=is_default)


def _check_name(root: str, name: str, defaulted: bool, names: _Names) -> None:
    if root not in _ROOTS:
        raise _WrongTemplateError(
            f"{shown(f'{root}.{name}')} is not known", "templates know `env.NAME` and `vars.name`", root
        )
    at = f"{root}.{name}"
    if root == "vars" and names.in_vars:
        raise _WrongTemplateError("a var cannot use another var", "write the value out", at)
    if defaulted or name in (names.env if root == "env" else names.vars):
        return
    if root == "env":
        hint = f"set it, `{name}=... edgec ...`, or give a default: `${{{{ env.{name} | default('...') }}}}`"
        raise _WrongTemplateError(f"the environment variable `{name}` is not set", hint, at)
    near = nearest(name, names.vars)
    hint = f"did you mean `vars.{near}`? " if near else ""
    have = f"defined: {listed(sorted(names.vars))}; " if names.vars else ""
    raise _WrongTemplateError(
        f"`vars.{name}` is not defined", f"{hint}{have}add it under `vars:`, or `--set vars.{name}=...`", at
    )
