"""The bundle as one `.tar`: the files of the layout, in order, with nothing of the machine in the headers.

Rule: the same layout gives the same bytes; the file appears whole or not at all.
"""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

from edgec.bundle.replace import scratch_folder


def write_archive(layout: Path, archive: Path) -> None:
    """Writes the OCI layout in the folder `layout` to `archive`. Raises OSError."""
    with scratch_folder(archive) as scratch:
        unfinished = scratch / archive.name
        with unfinished.open("xb") as file:
            # GNU format: sizes over 8 GiB fit into the header, without an extension header for a reader to trip on.
            with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
                for path in sorted(p for p in layout.rglob("*") if p.is_file()):
                    _add(tar, path, path.relative_to(layout).as_posix())
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(archive)


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    with path.open("rb") as reader:
        info = tarfile.TarInfo(name)
        info.size = os.fstat(reader.fileno()).st_size
        info.mode = 0o644
        info.mtime = 0
        tar.addfile(info, reader)
