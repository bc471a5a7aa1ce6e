"""What differs between versions of TensorRT-LLM: flags of `trtllm-build`, and whether a tied output layer is written.

Rule: data with its sources, in versions.json; a version that is not listed was not looked up and is refused. Nothing
here was run on a device.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType

from edgec.errors import InputError

# NVIDIA's branch for JetPack 6.1, the only one that was made for an Orin.
JETSON_VERSION = "0.12.0"


@dataclass(frozen=True)
class VersionFacts:
    """`flags`: of `trtllm-build`, without `--`. `paged_kv_cache`: how the paged KV cache is asked for.

    `omits_tied_output`: a tied lm_head.weight may be left out of the checkpoint: `config`: when config.json says
    `share_embedding_table`; `loader`: the loader finds out by itself; None: it must be there.
    """

    version: str
    flags: frozenset[str]
    paged_kv_cache: tuple[str, ...]
    omits_tied_output: str | None
    source: str


def _read() -> Mapping[str, VersionFacts]:
    data = json.loads(files(__package__).joinpath("versions.json").read_text(encoding="utf-8"))
    common = frozenset(data["common_flags"])
    return MappingProxyType(
        {
            version: VersionFacts(
                version=version,
                flags=common | frozenset(facts["flags"]),
                paged_kv_cache=tuple(facts["paged_kv_cache"]),
                omits_tied_output=facts["omits_tied_output"],
                source=facts["source"],
            )
            for version, facts in data["versions"].items()
        }
    )


VERSIONS: Mapping[str, VersionFacts] = _read()


def version_facts(version: str) -> VersionFacts:
    """The facts of `version`; `v0.12.0-jetson` is 0.12.0. Raises InputError for one that is not listed."""
    plain = version.removeprefix("v").removesuffix("-jetson")
    if plain not in VERSIONS:
        raise InputError.of(
            f"TensorRT-LLM {version} is not known; known are {', '.join(VERSIONS)}",
            hint=f"use {JETSON_VERSION} (the branch v0.12.0-jetson) on an Orin with JetPack 6.1; "
            "versions after 1.2.1 have no trtllm-build",
        )
    return VERSIONS[plain]
