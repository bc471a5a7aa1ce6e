"""Templates of what the emitter writes, and the one environment that renders them.

Rule: an undefined name is an error, and every value in a configuration or a script passes a filter.
"""

from __future__ import annotations

import shlex
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined

# Bytes that a text of the protobuf text format cannot hold as they are.
_ESCAPES = {0x22: '\\"', 0x5C: "\\\\", 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t"}


def protobuf_text(value: object) -> str:
    """`value`, a text, as a string of the protobuf text format, quotes included; what is not ASCII is escaped."""
    if not isinstance(value, str):
        raise TypeError(f"not a text: {value!r}")
    return f'"{"".join(_escaped(byte) for byte in value.encode())}"'


def _escaped(byte: int) -> str:
    if byte in _ESCAPES:
        return _ESCAPES[byte]
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}"


def integer(value: object) -> str:
    """`value`, a whole number, as text."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"not a whole number: {value!r}")
    return str(value)


_ENVIRONMENT = Environment(
    loader=PackageLoader("edgec.deploy.triton", "templates"),
    autoescape=False,  # noqa: S701  # no HTML: each kind of file has a filter of its own
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters.update(
    text=protobuf_text,
    integer=integer,
    quoted=lambda value: shlex.quote(str(value)),
)


def render(template: str, **values: object) -> bytes:
    """`template` with `values`, as UTF-8. Raises UndefinedError where a value is missing."""
    return _ENVIRONMENT.get_template(template).render(**values).encode()


def python_files(folder: str) -> dict[str, bytes]:
    """The Python files of `folder` beside the templates, as they are, by name, for one folder of a repository.

    A file stands where Python would make a folder for its cache, so that it makes none: an unpacked bundle stays as it
    was signed. Triton's Python ignores PYTHONDONTWRITEBYTECODE and all its like.
    """
    found = resources.files(__package__).joinpath(folder).iterdir()
    files = {file.name: file.read_bytes() for file in sorted(found, key=lambda f: f.name) if file.name.endswith(".py")}
    return {"__pycache__": b"This file keeps Python from writing a cache into a signed folder.\n", **files}
