"""Wheels of a few lines, and toolchains made of them: what the mechanics are tried with, without a network."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from edgec.toolchain.definition import Toolchain, this_platform


def write_wheel(
    folder: Path, name: str, version: str = "1.0", *, code: str = "", needs: tuple[str, ...] = (), script: str = ""
) -> Path:
    """A wheel with one module of that name; `script`: a console script that calls the module's `main`."""
    info = f"{name}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {n}" for n in needs)]
    files = {
        f"{name}.py": code or "VALUE = 42\n",
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: edgec-tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if script:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{script} = {name}:main\n"
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inside, text in files.items():
            wheel.writestr(zipfile.ZipInfo(inside, (2020, 1, 1, 0, 0, 0)), text)
    return path


def pin(wheel: Path) -> str:
    """The line of a lock for a wheel."""
    name, version = wheel.name.split("-")[:2]
    return f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def toolchain_of(
    lock: Path,
    *pins: str,
    smoke: tuple[str, ...] = (),
    torch: str | None = None,
    disk_mib: int = 1,
    python_minors: range = range(11, 20),
    platforms: tuple[str, ...] = (this_platform(),),
    overrides: tuple[str, ...] = (),
) -> Toolchain:
    """A toolchain whose lock is written to `lock`; its name is the file's."""
    lock.write_text("# A lock of the tests.\n" + "".join(pins), encoding="utf-8")
    return Toolchain(
        name=lock.stem,
        title="of the tests",
        lock=lock,
        python_minors=python_minors,
        platforms=platforms,
        smoke=smoke,
        disk_mib=disk_mib,
        memory_mib=64,
        torch=torch,
        overrides=overrides,
    )
