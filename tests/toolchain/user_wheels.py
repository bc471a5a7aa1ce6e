"""Wheels as a user would name them: METADATA, tags, and one module."""

from __future__ import annotations

import zipfile
from pathlib import Path

from edgec.toolchain.definition import this_platform

HERE = this_platform().replace("-", "_")


def write_user_wheel(
    folder: Path,
    *,
    name: str = "rkllm-toolkit",
    version: str = "1.3.0",
    tag: str = f"cp311-cp311-{HERE}",
    code: str = "",
    module: str = "rkllm/api.py",
) -> Path:
    """A wheel that is one in form. It compiles nothing."""
    stem = f"{name.replace('-', '_')}-{version}"
    files = {
        module: code,
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{stem}.dist-info/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: false\nTag: {tag}\n",
    }
    files[f"{stem}.dist-info/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{stem}.dist-info/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inside, text in files.items():
            wheel.writestr(zipfile.ZipInfo(inside, (2020, 1, 1, 0, 0, 0)), text)
    return path
