"""`edgec device` on the command line: exit codes, JSON, and what a person reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from device_case import ARTIFACT, ORIN, PUBLISHER, ROOTS, stand_in

from edgec import cli


class Shell:
    """Runs commands in this process; returns exit code, output and errors."""

    def __init__(self, capfd: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capfd = capfd
        self.folder = folder
        self.public = folder / "acme.pub"
        self.public.write_bytes(PUBLISHER.public.pem)

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        code = cli.run(["device", *map(str, arguments)])
        out, err = self._capfd.readouterr()
        return code, out, err

    def json(self, *arguments: str | Path) -> tuple[int, dict[str, Any]]:
        code, out, _ = self(*arguments, "--json")
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return code, found

    def finalize(self, bundle: Path, mode: str = "good", root: Path = ORIN) -> list[str | Path]:
        script = stand_in(self.folder, mode)
        return ["finalize", bundle, "--key", self.public, "--stand-in", script, "--root", root]


@pytest.fixture
def device(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return Shell(capfd, tmp_path)


def test_facts(device: Shell) -> None:
    code, out, _ = device("facts", "--root", ROOTS / "orin-nx-r36.4")
    assert code == 0
    assert "tensorrt             10.3.0.30                 package libnvinfer10 10.3.0.30-1+cuda12.5" in out
    code, found = device.json("facts", "--root", ROOTS / "orin-nx-r36.4")
    assert (code, found["facts"]["sm"]["value"], found["facts"]["power_modes"]["MAXN"]) == (0, 87, 0)
    assert device("facts")[0] == 0


def test_finalize_then_receipt(device: Shell, bundle: Path) -> None:
    code, out, err = device(*device.finalize(bundle))
    assert code == 0, err
    assert out.startswith("finished: orin-toy 1.0.0, edgellm-int4_awq, on NVIDIA Jetson Orin NX")
    assert "ENGINE BUILT BY A STAND-IN; NOT AN ENGINE" in out
    assert "build engine: edgellm-onnx-build on this device" in err
    assert "warning: a stand-in builds" in err
    code, found = device.json(*device.finalize(bundle))
    assert (code, found["event"], found["done"]) == (0, "result", False)
    receipt, engine = Path(found["receipt_file"]), Path(found["engine"])
    assert Path(found["current"]).resolve() == engine.parent.resolve()
    assert "engines-stand-in" in found["engine"]
    assert device("receipt", receipt)[0] == 4
    code, out, _ = device("receipt", receipt, "--accept-stand-in", "--engine", engine)
    assert code == 0
    assert "signed with this device's own key" in out
    assert "3 files of the engine, all as in the receipt" in out
    code, found = device.json("receipt", receipt, "--accept-stand-in")
    assert (code, found["verified"], found["receipt"]["artifact"]) == (0, True, ARTIFACT)


def test_a_mismatch_is_exit_5_with_every_diagnostic(device: Shell, bundle: Path) -> None:
    code, found = device.json(*device.finalize(bundle, root=ROOTS / "orin-nx-r36.4"))
    assert (code, found["event"], found["exit_code"]) == (5, "error", 5)
    assert len(found["diagnostics"]) == 4
    assert all(diagnostic["hint"] for diagnostic in found["diagnostics"])


def test_a_failed_build_is_exit_5_and_a_failed_proof_4(device: Shell, bundle: Path) -> None:
    code, _, err = device(*device.finalize(bundle, "killed for memory"))
    assert (code, "was killed by SIGKILL" in err, "build.log" in err) == (5, True, True)
    code, found = device.json(*device.finalize(bundle, "wrong tokens"))
    assert (code, found["exit_code"]) == (4, 4)
    assert {check["name"] for check in found["checks"]} >= {"device: greedy tokens"}


def test_without_the_vendors_programs_it_says_what_to_install(device: Shell, bundle: Path, tmp_path: Path) -> None:
    code, _, err = device("finalize", bundle, "--key", device.public, "--tools", tmp_path / "none")
    assert code == 5
    assert "the engine is built with tensorrt-edgellm, and there is no" in err
    assert "needs L4T 39.2" in err, "and every other mismatch"


def test_another_root_is_only_for_a_stand_in(device: Shell, bundle: Path) -> None:
    code, _, err = device("finalize", bundle, "--key", device.public, "--root", ORIN)
    assert (code, "--root is for --stand-in" in err) == (2, True)


def test_the_publishers_key_is_needed(device: Shell, bundle: Path) -> None:
    arguments = [a for a in device.finalize(bundle) if a not in ("--key", device.public)]
    code, _, err = device(*arguments)
    assert (code, "unknown key" in err) == (4, True)


def test_the_devices_key_is_shown(device: Shell) -> None:
    code, found = device.json("key")
    assert (code, device.json("key")[1]) == (0, found)
    assert found["pem"].startswith("-----BEGIN PUBLIC KEY-----")
    assert Path(found["public"]).read_text() == found["pem"]
    assert found["fingerprint"] in device("key")[1]


def test_no_bundle_is_exit_2(device: Shell, tmp_path: Path) -> None:
    assert device("finalize", tmp_path / "nothing", "--key", device.public)[0] == 2
    assert device("receipt", tmp_path / "nothing")[0] == 2
