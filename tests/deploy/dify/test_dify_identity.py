"""Authors, names and versions: the daemon's expressions, and what the SDK adds to them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import InvalidVersion, Version

from edgec.deploy.dify.identity import author_fault, identity_of, name_fault, plugin_name, version_fault
from edgec.deploy.dify.package import PluginPackage
from edgec.errors import InputError

# From the daemon: pkg/entities/manifest_entities/version.go.
DAEMON_VERSION = re.compile(r"^\d{1,4}(\.\d{1,4}){2}(-\w{1,16})?$", re.ASCII)


@pytest.mark.parametrize("author", ["acme", "a", "a_b-c", "0", "a" * 64, "12345678-1234-1234-1234-1234567890"])
def test_authors(author: str) -> None:
    assert author_fault(author) is None


@pytest.mark.parametrize(
    ("author", "why"),
    [
        ("Acme", "lower-case"),
        ("", "1 to 64"),
        ("a" * 65, "1 to 64"),
        ("acme.io", "lower-case"),
        ("é", "lower-case"),
        ("acme\n", "lower-case"),
        ("12345678-1234-1234-1234-123456789012", "UUID"),
        ("12345678123412341234123456789012", "UUID"),
        ("langgenius", "its own signature"),
    ],
)
def test_refused_authors(author: str, why: str) -> None:
    assert why in (author_fault(author) or "")


def test_names() -> None:
    assert name_fault("edge-llm_2") is None
    assert name_fault("a" * 128) is None
    assert all(name_fault(name) for name in ("a" * 129, "", "edge.llm", "Edge", "a b"))


@given(st.from_regex(r"[a-z0-9]+([._-][a-z0-9]+)*", fullmatch=True).filter(lambda name: len(name) <= 64))
def test_every_recipes_name_makes_one_that_dify_takes(name: str) -> None:
    assert name_fault(plugin_name(name)) is None


@pytest.mark.parametrize("version", ["1.0.0", "0.0.1", "9999.9999.9999", "1.0.0-rc1", "1.0.0-beta2", "1.0.0-1"])
def test_versions(version: str) -> None:
    assert version_fault(version) is None


@pytest.mark.parametrize(
    "version",
    ["1.0", "1.0.0.0", "20260101.0.0", "1.0.0-rc.1", "1.0.0+b", "1.0.0-", "v1.0.0", "1.0.0\n", "1.0.0-nightly"],
)
def test_refused_versions(version: str) -> None:
    assert version_fault(version)


@given(st.from_regex(r"[0-9]{1,5}(\.[0-9]{1,5}){1,3}(-(rc|beta|dev|post|a|x|nightly)?_?[0-9]{0,3})?", fullmatch=True))
def test_what_is_taken_is_taken_by_daemon_and_sdk(version: str) -> None:
    if version_fault(version) is None:
        assert DAEMON_VERSION.match(version)
        Version(version)
    elif DAEMON_VERSION.match(version):
        with pytest.raises(InvalidVersion):
            Version(version)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, "no manifest.yaml"),
        (b"author: acme\nname: a\n", "does not name"),
        (b"[1]", "does not name"),
        (b"{", "does not name"),
        (b"\xff", "does not name"),
        (b"author: Acme\nname: a\nversion: 1.0.0\n", "refuses the author 'Acme'"),
        (b"author: acme\nname: a b\nversion: 1.0.0\n", "refuses the name 'a b'"),
        (b"author: acme\nname: a\nversion: 1.0\n", "refuses the version '1.0'"),
    ],
)
def test_packages_of_others_must_say_who_they_are(manifest: bytes | None, message: str) -> None:
    files = {"README.md": b""} if manifest is None else {"manifest.yaml": manifest}
    with pytest.raises(InputError, match=re.escape(message)):
        identity_of(PluginPackage.of(files))


def test_a_version_that_only_the_sdk_refuses_can_be_verified() -> None:
    package = PluginPackage.of({"manifest.yaml": b"author: acme\nname: a\nversion: 1.0.0-nightly\n"})
    assert str(identity_of(package)) == "acme/a:1.0.0-nightly"
