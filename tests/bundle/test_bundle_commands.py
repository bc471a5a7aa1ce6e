"""The verbs `keys`, `verify`, `inspect` and `unpack`, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bundle_case import Bundle, write_pem

from edgec import cli


class Shell:
    """Runs `edgec` with a configuration folder of its own."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        code = cli.run([str(a) for a in arguments])
        out, err = self._capfd.readouterr()
        return code, out, err


@pytest.fixture
def edgec(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("EDGEC_SIGNING_KEY_PASSWORD", raising=False)
    return Shell(capfd)


def test_a_stranger_becomes_trusted(edgec: Shell, bundle: Bundle, tmp_path: Path) -> None:
    _, public = write_pem(bundle.key, tmp_path, "acme")
    code, _, err = edgec("verify", bundle.layout)
    assert (code, "unknown key" in err, "edgec keys trust" in err) == (4, True, True)
    assert edgec("verify", bundle.layout, "--key", public)[0] == 0
    code, out, _ = edgec("keys", "trust", public)
    assert (code, bundle.public.fingerprint in out) == (0, True)
    code, out, _ = edgec("verify", bundle.archive)
    assert (code, "a trusted key `acme`" in out) == (0, True)
    assert "trusted" in edgec("keys", "list")[1]


def test_verify_in_json(edgec: Shell, bundle: Bundle, tmp_path: Path) -> None:
    _, public = write_pem(bundle.key, tmp_path)
    code, out, err = edgec("verify", bundle.layout, "--key", public, "--json")
    result = json.loads(out.splitlines()[-1])
    assert (code, err, result["event"], result["verified"]) == (0, "", "result", True)
    assert result["digest"] == bundle.info.digest
    code, out, _ = edgec("verify", bundle.layout, "--json")
    error = json.loads(out.splitlines()[-1])
    assert (code, error["event"], error["exit_code"]) == (4, "error", 4)


def test_keys_are_made_listed_and_shown(edgec: Shell, tmp_path: Path) -> None:
    assert "edgec keys new" in edgec("keys", "list")[1]
    code, out, _ = edgec("keys", "new", "--json")
    made = json.loads(out)
    assert (code, Path(made["private"])) == (0, tmp_path / "config/edgec/keys/signing.key")
    assert edgec("keys", "new")[0] == 2
    assert made["fingerprint"] in edgec("keys", "list")[1]
    assert made["fingerprint"] in edgec("keys", "show", made["public"])[1]
    assert edgec("keys", "show", made["private"])[0] == 2
    assert edgec("keys", "new", tmp_path / "other.key")[0] == 0


def test_inspect_and_unpack(edgec: Shell, bundle: Bundle, tmp_path: Path) -> None:
    _, public = write_pem(bundle.key, tmp_path)
    assert "gguf/model-q4_0.gguf" in edgec("inspect", bundle.layout)[1]
    document = json.loads(edgec("inspect", bundle.archive, "--json")[1])
    assert document["manifest"]["schema"] == "edgec/manifest/v1"
    code, out, _ = edgec("unpack", bundle.archive, tmp_path / "out", "--key", public)
    assert (code, "unpacked to" in out) == (0, True)
    assert edgec("unpack", bundle.archive, tmp_path / "out", "--key", public)[0] == 2
    assert edgec("verify", tmp_path / "missing")[0] == 2
