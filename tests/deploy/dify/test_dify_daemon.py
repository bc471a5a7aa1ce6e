"""Dify's own decoder and signer (Go), when EDGEC_DIFY_DECODER names them: see daemon_peer/main.go."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dify_cases import CHATML, KeyFile, served

from edgec.deploy.dify.emit import emit, seal
from edgec.deploy.dify.package import PluginPackage, open_package, write_package
from edgec.deploy.dify.signature import sign_package, verify_package
from edgec.deploy.model import ServedModel
from edgec.recipe.package import DifyPackage

DECODER = os.environ.get("EDGEC_DIFY_DECODER", "")
pytestmark = pytest.mark.skipif(not DECODER, reason="EDGEC_DIFY_DECODER names no decoder")


def decoded(package: Path, key: Path) -> dict[str, Any]:
    """What the daemon makes of a package."""
    done = subprocess.run([DECODER, "verify", package, key], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("kind", ["generator", "embedder", "reranker"])
def test_the_daemon_takes_what_is_made_here(
    kind: str, request: pytest.FixtureRequest, acme: KeyFile, other: KeyFile, tmp_path: Path
) -> None:
    model: ServedModel = request.getfixturevalue(kind)
    sealed = seal(emit(DifyPackage(author="acme"), model, Path), acme.key, is_development=False)
    path = tmp_path / "p.difypkg"
    path.write_bytes(sealed.files[sealed.facts["path"]])
    found = decoded(path, acme.public)
    assert (found["verified"], found["unique_id"]) == (True, sealed.facts["unique_id"])
    assert set(found["readmes"]) == {"en_US", "zh_Hans"}
    (told,) = found["models"]
    assert told["model"] == sealed.facts["models"][0]["id"]
    assert told["model_properties"]["context_size"] == model.context
    assert decoded(path, other.public)["verified"] is False


def test_what_the_daemon_signed_verifies_here(acme: KeyFile, tmp_path: Path) -> None:
    emitted = emit(DifyPackage(author="acme"), served(chat_template=CHATML), Path)
    unsigned, signed = tmp_path / "unsigned.difypkg", tmp_path / "signed.difypkg"
    unsigned.write_bytes(*emitted.files.values())
    subprocess.run([DECODER, "sign", unsigned, acme.private, signed], check=True)
    package = open_package(signed)
    assert verify_package(package, [acme.key.public]).unique_id == decoded(signed, acme.public)["unique_id"]
    ours = sign_package(open_package(unsigned), acme.key)
    assert write_package(sign_package(package, acme.key)) == write_package(ours)


def test_the_weakness_is_dify_s_own(acme: KeyFile, tmp_path: Path) -> None:
    """A renamed file verifies there too; only the unique identifier changes."""
    sealed = seal(emit(DifyPackage(author="acme"), served(), Path), acme.key, is_development=False)
    path = tmp_path / "p.difypkg"
    path.write_bytes(sealed.files[sealed.facts["path"]])
    package = open_package(path)
    files = tuple(("sitecustomize.py" if n == "PRIVACY.md" else n, c) for n, c in package.files)
    path.write_bytes(write_package(PluginPackage(files, package.comment)))
    found = decoded(path, acme.public)
    assert found["verified"] is True
    assert found["unique_id"] != sealed.facts["unique_id"]
