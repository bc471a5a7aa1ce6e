"""The memory that can be had: the machine's, within a container's limit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgec.errors import ToolError
from edgec.toolchain.memory import available_mib, cgroup_free_mib, oom_kills, refuse_small_memory


def cgroup(folder: Path, *, limit: str, used: int, cached: int) -> Path:
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\nactive_file 5\ninactive_file {cached}\n")
    return folder


def test_the_machine_has_some_and_not_more_than_all() -> None:
    total_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    assert 0 < (available_mib() or 0) <= total_mib
    assert (oom_kills() or 0) >= 0


def test_a_container_s_limit_counts_without_cached_files(tmp_path: Path) -> None:
    assert cgroup_free_mib(cgroup(tmp_path, limit=str(512 << 20), used=500 << 20, cached=100 << 20)) == 112
    assert cgroup_free_mib(cgroup(tmp_path, limit=str(512 << 20), used=600 << 20, cached=0)) == 0
    assert cgroup_free_mib(cgroup(tmp_path, limit="max", used=1, cached=1)) is None
    assert cgroup_free_mib(tmp_path / "none") is None


def test_so_does_one_of_the_first_version(tmp_path: Path) -> None:
    (tmp_path / "memory.limit_in_bytes").write_text(f"{64 << 20}\n")
    (tmp_path / "memory.usage_in_bytes").write_text(f"{60 << 20}\n")
    (tmp_path / "memory.stat").write_text(f"cache 7\ninactive_file 3\ntotal_inactive_file {6 << 20}\n")
    assert cgroup_free_mib(tmp_path) == 10


def test_a_need_that_is_met_passes_and_another_is_refused() -> None:
    refuse_small_memory("it", 1)
    with pytest.raises(ToolError, match="it needs 1073741824 MiB of memory"):
        refuse_small_memory("it", 1 << 30)
