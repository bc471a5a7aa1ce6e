"""`edgec dify` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgec.cli import run
from edgec.deploy.dify.package import PluginPackage, open_package, write_package

FILES = {
    "manifest.yaml": b"version: 0.1.0\nauthor: someone\nname: not-ours\n",
    "main.py": b"pass\n",
    "README.md": b"Hi",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a package that edgec did not make, and a configuration of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("EDGEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGEC_DIFY_KEY", raising=False)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    (tmp_path / "p.difypkg").write_bytes(write_package(PluginPackage.of(FILES)))
    return tmp_path


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The last line of a command with `--json`, and its exit code."""
    code = run([*arguments, "--json"])
    last: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return {**last, "code": code}


def test_from_key_to_verified(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = answer(capsys, "dify", "keygen", "--bits", "2048")
    assert made["private"] == str(folder / "config" / "edgec" / "dify" / "signing.private.pem")
    before = (folder / "p.difypkg").read_bytes()
    signed = answer(capsys, "dify", "sign", "p.difypkg")
    assert (signed["code"], signed["package"], signed["key"]) == (0, "p.signed.difypkg", made["fingerprint"])
    assert (folder / "p.difypkg").read_bytes() == before
    verified = answer(capsys, "dify", "verify", "p.signed.difypkg")
    assert verified["code"] == 0
    assert (verified["author"], verified["name"], verified["version"]) == ("someone", "not-ours", "0.1.0")
    assert verified["unique_id"] == signed["unique_id"]
    assert "not their names" in verified["warnings"][0]
    told = answer(
        capsys, "dify", "verify", "p.signed.difypkg", "--key", made["public"], "--unique-id", signed["unique_id"]
    )
    assert (told["code"], told["warnings"]) == (0, [])


def test_text_for_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dify", "keygen", "k.private.pem", "--bits", "2048"]) == 0
    assert run(["dify", "sign", "p.difypkg", "--key", "k.private.pem", "-o", "out.difypkg"]) == 0
    capsys.readouterr()
    assert run(["dify", "verify", "out.difypkg", "--key", "k.public.pem"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "verified  out.difypkg"
    assert lines[1] == "plugin    someone/not-ours 0.1.0"
    assert lines[2].startswith("unique id someone/not-ours:0.1.0@")
    assert "RSA, 2048 bits" in lines[3]
    assert lines[4] == "time      2025-01-01T00:00:00Z"
    assert "not their names" in lines[5]


def test_what_does_not_verify_is_exit_4(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["dify", "keygen", "--bits", "2048"])
    run(["dify", "keygen", "other.private.pem", "--bits", "2048"])
    run(["dify", "sign", "p.difypkg"])
    assert answer(capsys, "dify", "verify", "p.difypkg")["code"] == 4
    assert answer(capsys, "dify", "verify", "p.signed.difypkg", "--key", "other.public.pem")["code"] == 4
    signed = open_package(folder / "p.signed.difypkg")
    renamed = PluginPackage(tuple((n.replace("README", "read"), c) for n, c in signed.files), signed.comment)
    (folder / "renamed.difypkg").write_bytes(write_package(renamed))
    assert answer(capsys, "dify", "verify", "renamed.difypkg")["code"] == 0
    expected = answer(capsys, "dify", "verify", "p.signed.difypkg")["unique_id"]
    assert answer(capsys, "dify", "verify", "renamed.difypkg", "--unique-id", expected)["code"] == 4


def test_wrong_inputs_are_exit_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no key to sign with" in str(answer(capsys, "dify", "sign", "p.difypkg"))
    assert "no key to verify with" in str(answer(capsys, "dify", "verify", "p.difypkg"))
    run(["dify", "keygen", "--bits", "2048"])
    for arguments in (
        ("keygen",),
        ("keygen", "."),
        ("keygen", "/"),
        ("keygen", "config/.."),
        ("sign", "none.difypkg"),
        ("sign", "p.difypkg", "--key", "none.pem"),
        ("sign", "p.difypkg", "-o", "p.difypkg"),
        ("verify", "p.difypkg", "--key", "config/edgec/dify/signing.private.pem"),
    ):
        assert answer(capsys, "dify", *arguments)["code"] == 2
    assert open_package(folder / "p.difypkg") == PluginPackage.of(FILES)


def test_signing_twice_gives_the_same_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["dify", "keygen", "--bits", "2048"])
    assert answer(capsys, "dify", "sign", "p.difypkg")["code"] == 0
    first = (folder / "p.signed.difypkg").read_bytes()
    assert answer(capsys, "dify", "sign", "p.difypkg")["code"] == 0
    again = answer(capsys, "dify", "sign", "p.signed.difypkg", "-o", "again.difypkg")
    assert again["code"] == 0
    assert (folder / "again.difypkg").read_bytes() == (folder / "p.signed.difypkg").read_bytes() == first


def test_the_time_can_be_given(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(["dify", "keygen", "--bits", "2048"])
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1600000000")
    assert answer(capsys, "dify", "sign", "p.difypkg")["code"] == 0
    assert answer(capsys, "dify", "verify", "p.signed.difypkg")["time"] == "2020-09-13T12:26:40Z"


def test_what_is_refused_leaves_no_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["dify", "keygen", "--bits", "2048"])
    run(["dify", "sign", "p.difypkg"])
    signed = open_package(folder / "p.signed.difypkg")
    refused = {**dict(signed.files), "manifest.yaml": FILES["manifest.yaml"].replace(b"someone", b"Some One")}
    (folder / "bad.difypkg").write_bytes(write_package(PluginPackage(tuple(refused.items()), signed.comment)))
    before = sorted(folder.iterdir())
    capsys.readouterr()
    assert run(["dify", "sign", "bad.difypkg"]) == 2
    told = capsys.readouterr()
    assert "Some One" in told.err
    assert "signed already" not in told.out + told.err
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(("comment", "says"), [(None, True), (b"", False), (b"packed by hand", False)])
def test_only_a_signature_is_called_one(
    folder: Path, comment: bytes | None, says: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["dify", "keygen", "--bits", "2048"])
    run(["dify", "sign", "p.difypkg"])
    signed = open_package(folder / "p.signed.difypkg")
    kept = signed.comment if comment is None else comment
    (folder / "q.difypkg").write_bytes(write_package(PluginPackage(signed.files, kept)))
    capsys.readouterr()
    assert run(["dify", "sign", "q.difypkg"]) == 0
    told = capsys.readouterr()
    assert ("signed already" in told.out + told.err) is says


@pytest.mark.parametrize("kind", ["development", "signing", "other"])
def test_whose_key_it_is(folder: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    keys = folder if kind == "other" else folder / "config" / "edgec" / "dify"
    run(["dify", "keygen", str(keys / f"{kind}.private.pem"), "--bits", "2048"])
    run(["dify", "sign", "p.difypkg", "--key", str(keys / f"{kind}.private.pem")])
    capsys.readouterr()
    verify = ("dify", "verify", "p.signed.difypkg", "--key", str(keys / f"{kind}.public.pem"))
    assert run([*verify]) == 0
    line = capsys.readouterr().out.splitlines()[3]
    assert line.endswith({"development": "no operator should trust it", "signing": "your own", "other": "bits)"}[kind])
    told = answer(capsys, *verify)
    assert (told["own_key"], told["development_key"]) == (kind == "signing", kind == "development")


def test_a_folder_is_no_place_for_a_key(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dify", "keygen", "."]) == 2
    assert "this is a folder" in capsys.readouterr().err


def test_the_help_says_whole_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    run(["dify", "--help"])
    commands = capsys.readouterr().out.partition("Commands:\n")[2].splitlines()
    assert len(commands) == 3
    assert all(line.endswith(".") and not line.endswith("...") for line in commands)
