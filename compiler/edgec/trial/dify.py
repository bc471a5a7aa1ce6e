"""Tries a Dify package as Dify's daemon would: its signature, the start of its process, its models, their answers.

Rule: what fails is a check that says so; an error is raised only when nothing could be tried.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from edgec.deploy.dify.keys import DifyPublicKey
from edgec.deploy.dify.package import PluginPackage, read_package
from edgec.deploy.dify.signature import verify_package
from edgec.errors import InputError, ProofError, ToolError
from edgec.events import ActionFinished, ActionStarted, Reporter, silent
from edgec.prove.model import Check
from edgec.toolchain.environment import Environment, in_use
from edgec.trial.dify_answers import DeclaredModel, bad_answers, refused_credentials, undeclared
from edgec.trial.dify_process import PluginProcess, running
from edgec.trial.folders import trial_folder
from edgec.trial.verdicts import none_of

_ACTION = "try dify"
_MANIFEST = "manifest.yaml"


def try_dify(
    package: Path,
    *,
    environment: Environment,
    keys: Sequence[DifyPublicKey],
    unique_id: str | None = None,
    endpoint: str | None = None,
    api_key: str | None = None,
    report: Reporter = silent,
    logs: Path,
) -> tuple[Check, ...]:
    """Tries the `.difypkg` file `package`; the checks say what held and what did not.

    `keys`: whose signature is good; `unique_id`: what the package must be, names of its files included; `endpoint`: a
    server that serves its models, without which they are not asked. The plugin's log is `dify.log` in `logs`.
    Raises InputError when the file is no package.
    """
    began = time.monotonic()
    sdk = environment.versions.get("dify-plugin", "")
    report(ActionStarted(_ACTION, "trial", f"run {package.name} on dify_plugin {sdk}"))
    logs.mkdir(parents=True, exist_ok=True)
    content = read_package(package.read_bytes(), place=str(package))
    checks = [_signature(content, keys, unique_id, str(package))]
    with trial_folder("dify") as folder, in_use(environment):
        log = logs / "dify.log"
        unpack(content, folder)
        try:
            with running(environment.python, folder, provider=_provider(folder), log=log) as plugin:
                checks.append(none_of("Dify plugin starts", [], 1, "failures", hint=f"see {log}"))
                checks += _models(plugin, folder, _credentials(endpoint, api_key), log)
        except ToolError as error:
            checks.append(none_of("Dify plugin runs", [error.diagnostics[0].message], 1, "failures", hint=f"see {log}"))
    report(ActionFinished(_ACTION, "trial", cached=False, wall_s=time.monotonic() - began))
    return tuple(checks)


def unpack(package: PluginPackage, folder: Path) -> None:
    """Writes the package's files into `folder`. Their names have been checked when the package was read."""
    for name, content in package.files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def declared_models(folder: Path) -> list[DeclaredModel]:
    """The models in the YAML files of an unpacked package, by id."""
    documents = (_yaml(path) for path in sorted(folder.glob("models/*/*.yaml")) if path.name != "_position.yaml")
    return [DeclaredModel(d["model"], d["model_type"], d["model_properties"]) for d in documents]


def _signature(package: PluginPackage, keys: Sequence[DifyPublicKey], unique_id: str | None, place: str) -> Check:
    failures = []
    try:
        verify_package(package, keys, expected_unique_id=unique_id, place=place)
    except (ProofError, InputError) as error:
        failures = [diagnostic.message for diagnostic in error.diagnostics]
    return none_of("Dify package signature", failures, 1, "failures", hint="get the package again, or the right key")


def _models(plugin: PluginProcess, folder: Path, credentials: dict[str, str] | None, log: Path) -> Iterator[Check]:
    models = declared_models(folder)
    differ = [fault for model in models for fault in undeclared(plugin, model, credentials or {})]
    yield none_of("Dify models declared", differ, len(models), "models", hint="build the package again")
    if credentials is None:
        return
    hint = f"check the endpoint and its key; the plugin's log is {log}"
    yield none_of("Dify credentials accepted", refused_credentials(plugin, credentials), 1, "refusals", hint=hint)
    faults = [fault for model in models for fault in bad_answers(plugin, model, credentials)]
    yield none_of("Dify models answer", faults, len(models), "faults in models", hint=hint)


def _credentials(endpoint: str | None, api_key: str | None) -> dict[str, str] | None:
    return None if endpoint is None else {"endpoint_url": endpoint, "api_key": api_key or ""}


def _provider(folder: Path) -> str:
    """The name of the package's provider, which every request says."""
    try:
        return str(_yaml(folder / _yaml(folder / _MANIFEST)["plugins"]["models"][0])["provider"])
    except (OSError, KeyError, IndexError, TypeError) as error:
        raise InputError.of(
            "the package declares no model provider", hint="name a package of a model plugin", place=_MANIFEST
        ) from error


def _yaml(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = YAML(typ="safe", pure=True).load(path.read_bytes())
    return document
