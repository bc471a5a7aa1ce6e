"""Layouts whose digests all fit, but which are not what was signed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundle_case import Bundle
from layout_case import add_blob, forge_config, forge_image, read_image

from edgec.bundle.content import BundleFile
from edgec.bundle.manifest import FileEntry, make_manifest
from edgec.bundle.oci import Descriptor, Layer, config_bytes, image_bytes, index_bytes, ordered_layers, parse_index
from edgec.bundle.verify import verify_bundle
from edgec.documents.canonical import canonical_json
from edgec.errors import ProofError

Copy = Callable[[Path], Path]
FILEPATH = "org.cncf.model.filepath"
TITLE = "org.opencontainers.image.title"


def refused(layout: Path, bundle: Bundle, says: str) -> None:
    with pytest.raises(ProofError) as caught:
        verify_bundle(layout, public_key=bundle.public)
    assert says in str(caught.value)


def rename_first(name: str) -> Callable[[dict[str, Any]], None]:
    def change(image: dict[str, Any]) -> None:
        image["layers"][0]["annotations"] = {FILEPATH: name, TITLE: name}

    return change


@pytest.mark.parametrize(
    "name",
    [
        "../../.ssh/authorized_keys",
        "/etc/passwd",
        "a/../b",
        "a//b",
        "./a",
        "a\\b",
        "",
        "a\x1b[31m",
        "x\u202ey",
        "e\u0301",
    ],
)
def test_layer_names_that_leave_or_deceive_are_refused(bundle: Bundle, copy_of: Copy, name: str) -> None:
    layout = copy_of(bundle.layout)
    forge_image(layout, rename_first(name))
    refused(layout, bundle, "a layer is named")


@pytest.mark.parametrize(
    ("name", "says"), [("config.json", "twice"), ("CONFIG.JSON", "twice"), ("gguf", "both a file")]
)
def test_layer_names_that_collide_are_refused(bundle: Bundle, copy_of: Copy, name: str, says: str) -> None:
    layout = copy_of(bundle.layout)
    forge_image(layout, rename_first(name))
    refused(layout, bundle, says)


def test_a_renamed_layer_is_refused(bundle: Bundle, copy_of: Copy) -> None:
    layout = copy_of(bundle.layout)
    forge_image(layout, rename_first("README2.md"))
    refused(layout, bundle, "'README2.md' is not signed")


def test_two_names_for_a_layer_are_refused(bundle: Bundle, copy_of: Copy) -> None:
    layout = copy_of(bundle.layout)
    forge_image(layout, lambda image: image["layers"][0]["annotations"].update({TITLE: "other"}))
    refused(layout, bundle, "not one of a model bundle")


def test_a_layer_with_other_content_is_refused(bundle: Bundle, copy_of: Copy) -> None:
    layout = copy_of(bundle.layout)
    digest = add_blob(layout, b"evil")
    old = read_image(layout)["layers"][0]["digest"]
    (layout / "blobs/sha256" / old[7:]).unlink()
    forge_image(layout, lambda image: image["layers"][0].update(digest=digest, size=4))
    refused(layout, bundle, "instead of")


def test_a_layer_with_other_content_of_the_same_size_is_refused(bundle: Bundle, copy_of: Copy) -> None:
    layout = copy_of(bundle.layout)
    layer = read_image(layout)["layers"][0]
    digest = add_blob(layout, bytes(layer["size"]))
    (layout / "blobs/sha256" / layer["digest"][7:]).unlink()
    forge_image(layout, lambda image: image["layers"][0].update(digest=digest))
    refused(layout, bundle, "not the files that are signed")


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image["annotations"].update({"org.opencontainers.image.version": "9.9.9"}),
        lambda image: image["annotations"].update({"com.example.run": "rm -rf"}),
        lambda image: image.update(subject={"digest": "sha256:" + "0" * 64}),
        lambda image: image["layers"][0].update(urls=["https://example.com/other"]),
        lambda image: image["layers"][0].update(mediaType="application/vnd.cncf.model.code.v1.raw"),
        lambda image: image["layers"].reverse(),
        lambda image: image.update(artifactType="application/vnd.example"),
    ],
)
def test_whatever_the_image_manifest_says_beyond_what_is_signed_is_refused(
    bundle: Bundle, copy_of: Copy, change: Callable[[dict[str, Any]], None]
) -> None:
    layout = copy_of(bundle.layout)
    forge_image(layout, change)
    refused(layout, bundle, "does not follow from what is signed")


def test_a_compressed_layer_is_refused(bundle: Bundle, copy_of: Copy) -> None:
    layout = copy_of(bundle.layout)
    forge_image(layout, lambda i: i["layers"][0].update(mediaType="application/vnd.cncf.model.doc.v1.tar+gzip"))
    refused(layout, bundle, "not one of a model bundle")


def test_whatever_the_config_says_beyond_what_is_signed_is_refused(bundle: Bundle, copy_of: Copy) -> None:
    layout = copy_of(bundle.layout)
    forge_config(layout, lambda config: config["config"].update(quantization="f16"))
    refused(layout, bundle, "does not follow from what is signed")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"schemaVersion":2,"schemaVersion":2,"manifests":[]}',
        b'{"schemaVersion":2,"manifests":[]}',
        b'{"schemaVersion":NaN,"manifests":[{}]}',
        b'{"schemaVersion":2,"manifests":[{"mediaType":{}}]}',
        b'{"schemaVersion":2,"manifests":"x"}',
        b'{"schemaVersion":' + b"9" * 5000 + b',"manifests":[]}',
        b" " * ((16 << 20) + 1),
    ],
)
def test_broken_and_hostile_indexes_are_refused(bundle: Bundle, copy_of: Copy, data: bytes) -> None:
    layout = copy_of(bundle.layout)
    (layout / "index.json").write_bytes(data)
    with pytest.raises(ProofError):
        verify_bundle(layout, public_key=bundle.public)


def test_a_second_image_in_the_index_is_refused(bundle: Bundle, copy_of: Copy) -> None:
    layout = copy_of(bundle.layout)
    index = json.loads((layout / "index.json").read_bytes())
    index["manifests"] *= 2
    (layout / "index.json").write_bytes(canonical_json(index))
    refused(layout, bundle, "exactly one model image")


def test_a_tag_is_welcome_and_nothing_else(bundle: Bundle, copy_of: Copy) -> None:
    layout = copy_of(bundle.layout)
    index = json.loads((layout / "index.json").read_bytes())
    index["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": "1.2.3"}
    (layout / "index.json").write_bytes(canonical_json(index))
    assert verify_bundle(layout, public_key=bundle.public).digest == bundle.info.digest
    index["manifests"][0]["annotations"]["com.example.more"] = "x"
    (layout / "index.json").write_bytes(canonical_json(index))
    refused(layout, bundle, "exactly one model image")


def test_an_index_as_clients_of_registries_write_it_is_accepted(bundle: Bundle, copy_of: Copy) -> None:
    layout = copy_of(bundle.layout)
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    size = (layout / "blobs/sha256" / bundle.info.digest[7:]).stat().st_size
    entry = f'"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{bundle.info.digest}","size":{size}'
    tag = '"annotations":{"org.opencontainers.image.ref.name":"1.2.3"}'
    for more in ("", "," + tag, f',{tag},"artifactType":"application/vnd.cncf.model.manifest.v1+json"'):
        (layout / "index.json").write_text(f'{{"schemaVersion":2,"manifests":[{{{entry}{more}}}]}}')
        assert verify_bundle(layout, public_key=bundle.public).digest == bundle.info.digest


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"\n",
        lambda data: b" " + data,
        lambda data: data.replace(b":", b": "),
        lambda data: data.replace(b"sha256", b"\\u0073ha256"),
        lambda data: json.dumps(json.loads(data), indent=1).encode(),
        lambda data: json.dumps(dict(reversed(json.loads(data).items())), separators=(",", ":")).encode(),
    ],
)
def test_another_spelling_of_the_index_is_refused(
    bundle: Bundle, copy_of: Copy, change: Callable[[bytes], bytes]
) -> None:
    layout = copy_of(bundle.layout)
    (layout / "index.json").write_bytes(change((layout / "index.json").read_bytes()))
    refused(layout, bundle, "exactly one model image")


@pytest.mark.parametrize("data", [b'{"imageLayoutVersion":"1.0.0"}\n', b'{"imageLayoutVersion":  "1.0.0"}', b"{}"])
def test_another_spelling_of_the_layout_file_is_refused(bundle: Bundle, copy_of: Copy, data: bytes) -> None:
    layout = copy_of(bundle.layout)
    (layout / "oci-layout").write_bytes(data)
    refused(layout, bundle, "not an OCI image layout")


def test_a_huge_number_of_bytes_is_refused_by_its_size_alone(bundle: Bundle, copy_of: Copy) -> None:
    layout = copy_of(bundle.layout)
    old = read_image(layout)["config"]["digest"]
    (layout / "blobs/sha256" / old[7:]).unlink()
    name = "f" * 64
    with (layout / "blobs/sha256" / name).open("wb") as file:
        file.truncate(1 << 40)
    forge_image(layout, lambda image: image["config"].update(digest="sha256:" + name, size=1 << 40))
    refused(layout, bundle, "larger than 16 MiB")


def test_the_index_reads_back() -> None:
    image = Descriptor("sha256:" + "a" * 64, 1234)
    assert parse_index(index_bytes(image)) == image


def _layer(file: BundleFile) -> Layer:
    return Layer(file.path_in_bundle, file.kind, Descriptor(file.digest, file.size_bytes))


def test_the_derived_documents_of_schema_v1_never_change(bundle: Bundle) -> None:
    # Bundles in the field verify only while the image manifest that follows from their signed manifest stays the same.
    # Never update these files: another form needs the schema `edgec/manifest/v2`.
    layers = ordered_layers(_layer(f) for f in bundle.content.files)
    entries: list[FileEntry] = []
    manifest = make_manifest(bundle.content, entries)
    assert [x.path for x in layers] == ["README.md", "config.json", "gguf/model-q4_0.gguf"]
    golden = Path(__file__).with_name("golden")
    assert config_bytes(manifest, layers) == (golden / "config-v1.json").read_bytes()
    assert image_bytes(manifest, layers) == (golden / "image-v1.json").read_bytes()
    assert json.loads(config_bytes(manifest, layers))["config"] == {
        "architecture": "llama",
        "format": "gguf",
        "paramSize": "1.1b",
        "precision": "bf16",
        "quantization": "q4_0",
    }
