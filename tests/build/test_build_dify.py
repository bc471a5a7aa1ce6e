"""The Dify package in a bundle: signed there, told in the manifest, and never a reason to quantize again."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from edgec.deploy.dify.keys import load_dify_public_key
from edgec.deploy.dify.package import PluginPackage, open_package
from edgec.deploy.dify.signature import verify_package
from edgec.deploy.dify.wheels import locked_wheels
from edgec.documents.canonical import sha256_bytes

DIFY = ("--set", "package.dify.author=acme")


def ran(finished) -> list[str]:
    """Kinds of the actions that were started."""
    return [e["kind"] for e in finished.events if e["event"] == "action_started"]


def keygen(shop, name: str) -> dict[str, str]:
    return shop.run("dify", "keygen", f"{name}.private.pem", "--bits", "2048").last


def unpacked(shop, built) -> tuple[dict[str, object], PluginPackage]:
    """What the bundle's manifest says of its Dify package, and the package."""
    folder = shop.folder / "out" / built.last["digest"][7:15]
    assert shop.run("unpack", built.last["bundle"], folder).code == 0
    manifest = json.loads((folder / "edgec-manifest.json").read_bytes())
    told = manifest["deployment"]["dify"]
    path = folder / told["path"]
    (listed,) = [f for f in manifest["files"] if f["path"] == told["path"]]
    assert listed["digest"] == sha256_bytes(path.read_bytes())
    return told, open_package(path)


def test_a_bundle_holds_a_signed_package(shop):
    key = keygen(shop, "acme")
    recipe = shop.recipe()
    arguments = (recipe, *DIFY, "--set", "package.dify.key=acme.private.pem")
    built = shop.run("build", *arguments)
    assert built.code == 0, built.err
    told, package = unpacked(shop, built)
    found = verify_package(package, [load_dify_public_key(shop.folder / "acme.public.pem")])
    assert told["unique_id"] == found.unique_id
    assert (told["author"], told["name"], told["version"]) == ("acme", "small", "1.0.0")
    assert (told["key"], told["development_key"]) == (key["fingerprint"], False)
    assert package.content("models/llm/small.yaml")
    assert shop.run("verify", built.last["bundle"]).code == 0
    # Nothing changed, nothing runs; another key for Dify only packages.
    assert ran(shop.run("build", *arguments)) == []
    other = keygen(shop, "other")
    signed_anew = shop.run("build", recipe, *DIFY, "--set", "package.dify.key=other.private.pem")
    assert ran(signed_anew) == ["bundle"]
    assert unpacked(shop, signed_anew)[0]["key"] == other["fingerprint"]
    # The same again on a machine that knows nothing.
    subprocess.run(["rm", "-rf", shop.folder / "cache", shop.folder / signed_anew.last["bundle"]], check=True)
    again = shop.run("build", *arguments)
    assert again.last["digest"] == built.last["digest"]


def test_a_development_key_is_made_once_and_said(shop):
    recipe = shop.recipe()
    assert shop.run("plan", recipe, *DIFY).code == 0
    assert not (shop.folder / "config" / "edgec").exists()
    built = shop.run("build", recipe, *DIFY)
    notes = [e["message"] for e in built.events if e["event"] == "note"]
    assert any("made a development key" in n and "dify" in n for n in notes)
    assert any("signed with a development key" in n for n in notes)
    assert unpacked(shop, built)[0]["development_key"] is True
    again = shop.run("build", recipe, *DIFY, "--set", "version=1.0.1")
    assert ran(again) == ["bundle"]


def test_a_key_that_cannot_be_used_is_found_before_anything_is_built(shop):
    (shop.folder / "wrong.pem").write_text("no key")
    shop = type(shop)(shop.folder, {"EDGEC_DIFY_KEY": str(shop.folder / "wrong.pem")})
    failed = shop.run("build", shop.recipe(), *DIFY)
    assert failed.code == 2
    assert ran(failed) == []
    assert failed.last["diagnostics"][0]["place"] == str(shop.folder / "wrong.pem")
    # Who wants no package for Dify needs no key for it.
    assert shop.run("plan", shop.recipe()).code == 0


def test_wheels_without_a_network_are_an_error_before_anything_is_built(shop, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "pip.conf").write_text("[global]\nno-index = true\n")
    nowhere = {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PIP_FIND_LINKS": str(tmp_path / "empty")}
    shop = type(shop)(shop.folder, nowhere)
    failed = shop.run("build", shop.recipe(), *DIFY, "--set", "package.dify.with_wheels=true", "--offline")
    assert failed.code == 3
    assert ran(failed) == ["wheels"]
    (said,) = failed.last["diagnostics"]
    assert "the wheels of the Dify package cannot be fetched" in said["message"]
    assert "--offline" in said["hint"]
    assert "PIP_FIND_LINKS" in said["hint"]


@pytest.mark.toolchain
def test_wheels_are_fetched_once_and_carried(shop):
    """For real: about 20 MB."""
    keygen(shop, "acme")
    settings = (*DIFY, "--set", "package.dify.key=acme.private.pem", "--set", "package.dify.with_wheels=true")
    built = shop.run("build", shop.recipe(), *settings)
    assert built.code == 0, built.err
    _, package = unpacked(shop, built)
    found = {n.removeprefix("wheels/"): sha256_bytes(c) for n, c in package.files if n.startswith("wheels/")}
    assert found == {w.file: w.digest for w in locked_wheels()}
    later = shop.run("build", shop.recipe(), *settings, "--set", "version=1.0.1", "--offline")
    assert ran(later) == ["bundle"]
    # A wheel that rotted on the disk is fetched again, not packed.
    (result,) = {p.parent for p in (shop.folder / "cache" / "store" / "results").glob("*/dify_plugin-*.whl")}
    wheel = next(result.glob("click-*.whl"))
    data = bytearray(wheel.read_bytes())
    data[100] ^= 1
    stamps = wheel.stat()
    wheel.chmod(0o644)
    wheel.write_bytes(data)
    os.utime(wheel, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))
    healed = shop.run("build", shop.recipe(), *settings, "--set", "version=1.0.2")
    assert healed.code == 0, healed.err
    assert "wheels" in ran(healed)
    _, package = unpacked(shop, healed)
    assert package.content(f"wheels/{wheel.name}") != bytes(data)
