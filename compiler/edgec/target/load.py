"""Target profiles: the built-in ones by name, a user's own by path; `extends:` another one by name or path.

Rule: the built-in profiles are the checkout's `targets/` when edgec runs from one, else the copy in the package.
"""

from __future__ import annotations

from pathlib import Path

import edgec
from edgec.documents.extend import load_extended
from edgec.documents.files import is_file, names_a_file, names_in
from edgec.documents.typed import parse
from edgec.documents.wording import listed, nearest, shown
from edgec.errors import Diagnostic, InputError, Span
from edgec.target.model import Target


def profiles_folder() -> Path:
    """The folder of the built-in profiles."""
    package = Path(edgec.__file__).parent
    checkout = package.parents[1]
    if (checkout / "pyproject.toml").is_file() and (checkout / "targets").is_dir():
        return checkout / "targets"
    return package / "_targets"


def list_targets() -> tuple[str, ...]:
    """Names of the built-in profiles, sorted. A file whose name begins with `_` is a base to extend, not a target."""
    return tuple(sorted(p.stem for p in profiles_folder().glob("*.yaml") if not p.name.startswith("_")))


def load_target(name_or_path: str, *, folder: Path, span: Span | None = None) -> Target:
    """The profile of that name, or in that file (relative to `folder`). Raises InputError.

    `span`: where the name was written, for the message when there is no such profile.
    """
    return parse(Target, load_extended(_find(name_or_path, folder, span), _resolve_base))


def _find(name_or_path: str, folder: Path, span: Span | None) -> Path:
    if names_a_file(name_or_path):
        path = folder / name_or_path
        if is_file(path):
            return path
        near = nearest(path.name, [name for name in names_in(path.parent) if name.endswith((".yaml", ".yml"))])
        hint = f"did you mean {shown(near)} in that folder?" if near else f"it is looked up in `{folder}`"
        raise InputError(Diagnostic(f"no target file {shown(name_or_path)}", hint, span))
    path = profiles_folder() / f"{name_or_path}.yaml"
    if is_file(path) and name_or_path in list_targets():
        return path
    names = list_targets()
    near = nearest(name_or_path, names)
    hint = f"did you mean `{near}`? Targets: " if near else "targets: "
    message = f"unknown target {shown(name_or_path)}"
    raise InputError(Diagnostic(message, f"{hint}{listed(names)}; or a path to a profile, `./my-board.yaml`", span))


def _resolve_base(text: str, path: Path, span: Span) -> Path:
    """`extends:` in a profile: a file beside it (also one that begins with `_`), or a built-in name."""
    if is_file(path.parent / text):
        return path.parent / text
    return _find(text, path.parent, span)
