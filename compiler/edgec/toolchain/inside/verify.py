"""Looks at an environment from within: which distributions are there, which pins are missed, what cannot be imported.

Runs in the environment, by `host.py`; pip's own parser reads the lock, so that it means what it meant to pip.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import distributions
from typing import Any

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`{"pins": ["a==1 ; marker"], "smoke": [module], "overrides": ["b==2"]}` -> `{"versions": {name: version},
    "problems": [text]}`. Where there are overrides, packages' own demands are checked here: all but those overridden.
    """
    versions = {str(canonicalize_name(d.metadata["Name"])): d.version for d in distributions()}
    problems = [text for pin in request["pins"] if (text := _missed(pin, versions))]
    if request["overrides"]:
        problems += _unmet(versions, {str(canonicalize_name(Requirement(o).name)) for o in request["overrides"]})
    for done, name in enumerate(request["smoke"] if not problems else []):
        progress(done, len(request["smoke"]), "modules", name)
        # Whatever it raises ends this process with its traceback, which edgec shows.
        importlib.import_module(name)
    return {"versions": dict(sorted(versions.items())), "problems": problems}


def _unmet(versions: dict[str, str], overridden: set[str]) -> list[str]:
    """What installed packages ask for and do not get."""
    found = []
    for distribution in distributions():
        for demand in distribution.requires or ():
            wanted = Requirement(demand)
            needed = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
            if needed and canonicalize_name(wanted.name) not in overridden:
                text = _missed(demand.partition(";")[0], versions)
                found += [f"{distribution.metadata['Name']}: {text}"] if text else []
    return found


def _missed(pin: str, versions: dict[str, str]) -> str | None:
    wanted = Requirement(pin)
    if wanted.marker is not None and not wanted.marker.evaluate():
        return None
    found = versions.get(str(canonicalize_name(wanted.name)))
    if found is None:
        return f"{wanted.name} is missing"
    if not wanted.specifier.contains(found, prereleases=True):
        return f"{wanted.name} is {found}, {wanted.specifier} is asked for"
    return None
