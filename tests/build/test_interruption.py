"""Kills, concurrent builds and full disks: nothing half-written, nothing lost, the next build goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from test_build import digests, ran

# Moments after the start at which the build is killed; together they hit every stage of a build of some seconds.
MOMENTS_S = (0.4, 0.8, 1.2, 1.7, 2.3, 3.0, 4.0)


def kill(child: subprocess.Popen[str]) -> None:
    """SIGKILL for the command alone: its children must notice by themselves."""
    child.send_signal(signal.SIGKILL)
    child.communicate()


def orphans(folder: Path) -> list[str]:
    """Command lines of processes whose environment names this test's cache."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"EDGEC_CACHE={folder}/cache".encode() in environ.read_bytes().split(b"\0"):
                found.append((environ.parent / "cmdline").read_text())
    return found


def test_kill_9_at_any_moment_leaves_nothing_half_written(shop):
    recipe = shop.recipe()
    artifacts = shop.folder / "artifacts"
    for moment_s in MOMENTS_S:
        child = shop.start("build", recipe)
        time.sleep(moment_s)
        kill(child)
        if (artifacts / "small-1.0.0-pi5-8gb").exists():
            assert shop.run("verify", artifacts / "small-1.0.0-pi5-8gb").code == 0
    finished = shop.run("build", recipe)
    assert finished.code == 0, finished.err
    bundle = shop.folder / finished.last["bundle"]
    assert shop.run("verify", bundle).code == 0
    after_kills = digests(bundle)
    subprocess.run(["rm", "-rf", shop.folder / "cache", artifacts], check=True)
    undisturbed = shop.run("build", recipe)
    assert digests(shop.folder / undisturbed.last["bundle"]) == after_kills
    assert [p.name for p in artifacts.iterdir() if p.name.startswith(".")] == []
    assert orphans(shop.folder) == []


def test_interrupt_ends_with_130_and_the_next_build_goes_on(shop):
    recipe = shop.recipe()
    child = shop.start("build", recipe)
    time.sleep(1.5)
    os.kill(child.pid, signal.SIGINT)
    ended = shop.finish(child)
    assert ended.code in (0, 130)
    assert "Traceback" not in ended.err
    assert shop.run("build", recipe).code == 0
    assert orphans(shop.folder) == []


def test_two_builds_at_once_share_the_work(shop):
    recipe = shop.recipe()
    children = [shop.start("build", recipe) for _ in range(2)]
    first, second = (shop.finish(c) for c in children)
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert first.last["digest"] == second.last["digest"]
    assert sorted(ran(first) + ran(second)).count("compile") == 1


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 6 MiB; needs the right to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "edgec-test", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no right to mount a small file system here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_said_before_the_work(shop, small_disk):
    (shop.folder / "cache").symlink_to(small_disk)
    refused = shop.run("build", shop.recipe())
    assert refused.code == 3
    assert "free" in refused.last["diagnostics"][0]["message"]
    assert not (shop.folder / "artifacts").exists()


def test_a_full_output_disk_is_said_before_the_work(shop, small_disk):
    (small_disk / "ballast").write_bytes(bytes(5 << 20))
    refused = shop.run("build", shop.recipe(), "--output", small_disk / "artifacts")
    assert refused.code == 3
    (diagnostic,) = refused.last["diagnostics"]
    assert "the disk has 1.0 MiB free" in diagnostic["message"]
    assert diagnostic["place"] == str(small_disk)
    assert "--output" in diagnostic["hint"]
    assert "EDGEC_CACHE" not in diagnostic["hint"]
    assert ran(refused) == []


def test_a_disk_that_fills_up_while_packaging_leaves_no_bundle(shop, small_disk):
    recipe = shop.recipe()
    assert shop.run("build", recipe).code == 0
    (gguf,) = [p for p in (shop.folder / "cache/store/results").rglob("*.gguf") if "reference" not in p.name]
    # Room for the weights, which is looked at before, but not for the tokenizer and the report.
    (small_disk / "ballast").write_bytes(bytes((6 << 20) - gguf.stat().st_size - (100 << 10)))
    refused = shop.run("build", recipe, "--output", small_disk / "artifacts")
    assert refused.code == 3
    assert ran(refused) == ["bundle"]
    assert "no space left" in refused.last["diagnostics"][0]["message"]
    assert "EDGEC_CACHE" not in refused.last["diagnostics"][0]["hint"]
    assert not list(small_disk.glob("artifacts/*"))
