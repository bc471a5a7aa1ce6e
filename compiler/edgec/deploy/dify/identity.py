"""Who a plugin is: author, name and version, by the rules of Dify's daemon and of its Python SDK.

Rule: what either of the two refuses is refused here, with the reason; the daemon would say it only at the installation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from edgec.deploy.dify.package import PluginPackage
from edgec.errors import InputError

_AUTHOR = re.compile(r"[a-z0-9_-]{1,64}")
_NAME = re.compile(r"[a-z0-9_-]{1,128}")
_VERSION = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){2}(-\w{1,16})?", re.ASCII)
# The SDK reads the version as a Python version (PEP 440) when the plugin starts, and stops at any other.
_PYTHON_SUFFIX = re.compile(r"-((a|b|c|rc|alpha|beta|pre|preview|post|rev|r|dev)_?[0-9]*|[0-9]+)", re.IGNORECASE)
# What Go's uuid.Parse takes; the daemon then believes that the plugin is being debugged from elsewhere.
_HEX = "[0-9a-f]"
_UUID = re.compile(rf"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}|{_HEX}{{32}}")
# The daemon takes plugins of this author only with Dify's own signature.
_RESERVED_AUTHOR = "langgenius"
_MANIFEST = "manifest.yaml"


@dataclass(frozen=True)
class Identity:
    """A plugin's author, name and version; as text the way Dify writes it."""

    author: str
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.author}/{self.name}:{self.version}"

    @property
    def file_name(self) -> str:
        """The file name of its package."""
        return f"{self.author}-{self.name}-{self.version}.difypkg"


def plugin_name(recipe_name: str) -> str:
    """The name of a plugin whose recipe gives it none: the recipe's, with `-` for the dots that Dify refuses."""
    return recipe_name.replace(".", "-")


def author_fault(author: str) -> str | None:
    """Why Dify refuses this author, or None."""
    if not _AUTHOR.fullmatch(author):
        return "Dify takes 1 to 64 lower-case letters, digits, `_` and `-`"
    if _UUID.fullmatch(author):
        return "Dify takes an author that is a UUID for a plugin under remote debugging"
    if author == _RESERVED_AUTHOR:
        return "Dify takes plugins of `langgenius` only with its own signature"
    return None


def name_fault(name: str) -> str | None:
    """Why Dify refuses this name, or None."""
    return None if _NAME.fullmatch(name) else "Dify takes 1 to 128 lower-case letters, digits, `_` and `-`"


def version_fault(version: str) -> str | None:
    """Why Dify or its SDK refuses this version, or None."""
    if not _VERSION.fullmatch(version):
        return "Dify takes three numbers of at most 4 digits, and then `-` with at most 16 letters and digits"
    _, dash, suffix = version.partition("-")
    if dash and not _PYTHON_SUFFIX.fullmatch(dash + suffix):
        return "Dify's SDK takes only a suffix such as `-rc1`, `-beta2`, `-dev3` or `-1`"
    return None


def identity_of(package: PluginPackage, *, place: str | None = None) -> Identity:
    """Who a package says it is. Raises InputError when its manifest does not say it as Dify demands."""
    text = package.content(_MANIFEST)
    if text is None:
        raise InputError.of(f"the package has no {_MANIFEST}", hint="name a Dify plugin package", place=place)
    try:
        manifest = YAML(typ="safe", pure=True).load(text.decode())
        stated = [manifest[key] for key in ("author", "name", "version")]
    except (YAMLError, UnicodeDecodeError, KeyError, TypeError, RecursionError) as error:
        raise InputError.of(
            f"{_MANIFEST} does not name author, name and version", hint="write them into it", place=place
        ) from error
    author, name, version = (str(value) for value in stated)
    # Not the rules of the SDK: packages that others made are verified and signed as they are.
    for value, pattern, what in ((author, _AUTHOR, "author"), (name, _NAME, "name"), (version, _VERSION, "version")):
        if not pattern.fullmatch(value):
            raise InputError.of(
                f"Dify refuses the {what} {value!r} in {_MANIFEST}", hint=f"correct the {what}", place=place
            )
    return Identity(author, name, version)
