"""A bundle goes through a real registry and comes back the same."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundle_case import FILES, Bundle
from layout_case import read_image

from edgec.bundle.unpack import unpack
from edgec.bundle.verify import verify_bundle
from edgec.documents.canonical import sha256_bytes

pytestmark = [
    pytest.mark.registry,
    pytest.mark.skipif(
        not (shutil.which("skopeo") and shutil.which("docker-registry")), reason="needs skopeo and docker-registry"
    ),
]
_CONFIG = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: 127.0.0.1:{port}}}
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "registry.yml"
    config.write_text(_CONFIG.format(root=tmp_path / "registry", port=port))
    with subprocess.Popen(
        ["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            _wait_for(f"http://127.0.0.1:{port}/v2/")
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def skopeo(*arguments: str) -> bytes:
    command = ["skopeo", "--insecure-policy", *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout


def test_a_round_trip_keeps_the_digest(bundle: Bundle, registry: str, tmp_path: Path) -> None:
    remote = f"docker://{registry}/models/docs-llama:1.2.3"
    skopeo("copy", "--dest-tls-verify=false", "--preserve-digests", f"oci:{bundle.layout}", remote)
    assert sha256_bytes(skopeo("inspect", "--tls-verify=false", "--raw", remote)) == bundle.info.digest
    skopeo("copy", "--src-tls-verify=false", "--preserve-digests", remote, f"oci:{tmp_path}/back:1.2.3")
    result = verify_bundle(tmp_path / "back", public_key=bundle.public)
    assert result.digest == bundle.info.digest
    unpack(tmp_path / "back", tmp_path / "files", public_key=bundle.public)
    assert (tmp_path / "files/gguf/model-q4_0.gguf").read_bytes() == FILES["gguf/model-q4_0.gguf"][1]


def test_a_layer_can_be_fetched_in_parts(bundle: Bundle, registry: str) -> None:
    skopeo("copy", "--dest-tls-verify=false", f"oci:{bundle.layout}", f"docker://{registry}/m:1")
    (layer,) = [x for x in read_image(bundle.layout)["layers"] if x["size"] == 10240]
    request = urllib.request.Request(
        f"http://{registry}/v2/m/blobs/{layer['digest']}", headers={"Range": "bytes=100-199"}
    )
    with urllib.request.urlopen(request) as answer:
        assert (answer.status, answer.read()) == (206, FILES["gguf/model-q4_0.gguf"][1][100:200])


def test_the_archive_is_an_oci_archive_for_others(bundle: Bundle, tmp_path: Path) -> None:
    skopeo("copy", "--preserve-digests", f"oci-archive:{bundle.archive}", f"oci:{tmp_path}/out:x")
    assert verify_bundle(tmp_path / "out", public_key=bundle.public).digest == bundle.info.digest
    skopeo("copy", "--preserve-digests", f"oci:{bundle.layout}", f"oci-archive:{tmp_path}/out.tar:x")
    assert verify_bundle(tmp_path / "out.tar", public_key=bundle.public).digest == bundle.info.digest
