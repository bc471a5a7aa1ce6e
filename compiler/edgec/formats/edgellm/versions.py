"""Which Edge-LLM belongs to which JetPack, and what its wheel brings for an Orin: data, with the sources.

Rule: the exporter's version must be the device's builder's, so a JetPack whose Edge-LLM cannot be had is refused when
the build is planned, with what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgec.errors import InputError


@dataclass(frozen=True)
class NativePayload:
    """What a wheel of Edge-LLM holds for one kind of device (`_native/variants.json`), and needs there.

    `extension_sha256`: by the Python ABI of the wheel; `needed`: shared libraries that must be found.
    """

    variant: str
    sm: int
    l4t: str
    cuda_soname: str
    tensorrt_soname: str
    needed: tuple[str, ...]
    plugin: str
    plugin_sha256: str
    plugin_bytes: int
    extension_sha256: Mapping[str, str]
    source_revision: str
    tensorrt_wheel: str


@dataclass(frozen=True)
class EdgeLlmVersion:
    """A release of Edge-LLM. `toolchain`: where its exporter runs, None when it cannot be had; then `why_not`, `hint`.

    `source`: where the assignment to the JetPack is said.
    """

    number: str
    jetpack: str
    cuda: str
    source: str
    toolchain: str | None = None
    why_not: str = ""
    hint: str = ""
    payload: NativePayload | None = None


# Read from the aarch64 wheels of 0.11.0 (glibc 2.39), whose loader picks a payload by exactly these values.
ORIN_JETPACK_7_2 = NativePayload(
    variant="jetson-orin-jp72-cu13-sm87",
    sm=87,
    l4t="R39.2",
    cuda_soname="libcudart.so.13",
    tensorrt_soname="libnvinfer.so.10",
    needed=("libnvinfer.so.10", "libnvonnxparser.so.10", "libcuda.so.1", "libcudart.so.13"),
    plugin="tensorrt_edgellm/_native/payloads/jetson-orin-jp72-cu13-sm87/lib/libNvInfer_edgellm_plugin.so",
    plugin_sha256="1442e52df3f8adabb7a0f7327dd3a595638a5abf85aaff8fdfa845aaa2641592",
    plugin_bytes=122500368,
    extension_sha256={
        "cp310": "f3774946de262b28a2e236fb15d8d1a8a49e7f069bbb37c5cd27fc0512928e47",
        "cp311": "2e3fd8244c284197e9574d108859f96961aef0eb9af77e37b458b9d3beeb7537",
        "cp312": "a9f9bc3d082b32d770dcc0ac1223158d8885ed00e275db6fa0462a16d2ca02e0",
    },
    source_revision="74f8732a7e8d1377e34471ad2652988346f18813",
    tensorrt_wheel="tensorrt==10.16.0.72",
)

VERSIONS = (
    EdgeLlmVersion(
        number="0.11.0",
        jetpack="7.2",
        cuda="13.2",
        source="the wheel's _native/variants.json: jetson-orin-jp72, L4T R39.2",
        toolchain="edgellm",
        payload=ORIN_JETPACK_7_2,
    ),
    EdgeLlmVersion(
        number="0.6.0",
        jetpack="6.2",
        cuda="12.6",
        source="https://nvidia.github.io/TensorRT-Edge-LLM/0.6.0/; newer ones need TensorRT 10.7, JetPack 6.2 has 10.3 "
        "(github.com/NVIDIA/TensorRT-Edge-LLM/issues/140)",
        why_not="not to be had from PyPI: of tensorrt-edgellm only 0.11.0 is there, and an exporter of another version "
        "than the device's builder is not supported",
        hint="update the device to JetPack 7.2 and set software.jetpack of its target to 7.2; or build for it with "
        "`format: trtllm` or `format: gguf`",
    ),
)


def version_for(jetpack: str | None) -> EdgeLlmVersion:
    """The Edge-LLM for a device with this JetPack (`7.2`, `7.2.1`). Raises InputError when there is none to be had."""
    known = ", ".join(v.jetpack for v in VERSIONS if v.toolchain is not None)
    if jetpack is None:
        raise InputError.of(
            "the target has no JetPack (software.jetpack), which decides the version of Edge-LLM",
            hint=f"set software.jetpack in the target; Edge-LLM can be had for JetPack {known}",
        )
    found = next((v for v in VERSIONS if jetpack == v.jetpack or jetpack.startswith(f"{v.jetpack}.")), None)
    if found is None:
        raise InputError.of(
            f"no Edge-LLM is known for JetPack {jetpack}",
            hint=f"Edge-LLM can be had for JetPack {known}; or use `format: gguf`",
        )
    if found.toolchain is None:
        raise InputError.of(
            f"JetPack {jetpack} needs Edge-LLM {found.number}, which is {found.why_not}", hint=found.hint
        )
    return found
