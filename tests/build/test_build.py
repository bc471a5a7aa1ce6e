"""`edgec build` from end to end, on the real model and the real runtime."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgec.documents.canonical import sha256_file

MODEL = Path(__file__).parents[2] / "models" / "docs-llama"


def digests(folder: Path) -> dict[str, str]:
    """Content of every file under `folder`."""
    return {str(p.relative_to(folder)): sha256_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def ran(finished) -> list[str]:
    """Kinds of the actions that were started."""
    return [e["kind"] for e in finished.events if e["event"] == "action_started"]


def test_builds_proves_signs_and_verifies(shop):
    built = shop.run("build", shop.recipe())
    assert built.code == 0, built.err
    bundle = shop.folder / built.last["bundle"]
    assert bundle.name == "small-1.0.0-pi5-8gb"
    checks = {c["name"]: c for c in built.last["proofs"][0]["checks"]}
    assert all(c["passed"] for c in checks.values())
    assert any(c["unit"] == "nats" and 0 < c["measured"] < 0.1 for c in checks.values())
    assert built.last["development_key"] is True
    assert "<html" in Path(shop.folder / built.last["report"]).read_text()
    assert shop.run("verify", bundle).code == 0
    assert shop.run("unpack", bundle, shop.folder / "out").code == 0
    (gguf,) = (shop.folder / "out").rglob("*.gguf")
    assert gguf.read_bytes()[:4] == b"GGUF"


def test_a_rebuild_does_nothing_and_a_new_version_only_packages(shop):
    recipe = shop.recipe()
    first = shop.run("build", recipe)
    started = time.monotonic()
    again = shop.run("build", recipe)
    assert again.last["cached"] is True
    assert ran(again) == []
    assert again.last["digest"] == first.last["digest"]
    assert time.monotonic() - started < 5
    newer = shop.run("build", recipe, "--set", "version=1.0.1")
    assert newer.code == 0
    assert ran(newer) == ["bundle"]


def test_two_machines_build_the_same_bundle(shop, tmp_path):
    recipe = shop.recipe()
    first = shop.run("build", recipe)
    subprocess.run(["rm", "-rf", shop.folder / "cache"], check=True)
    bundle = shop.folder / first.last["bundle"]
    before = digests(bundle)
    subprocess.run(["rm", "-rf", bundle], check=True)
    second = shop.run("build", recipe)
    assert second.last["digest"] == first.last["digest"]
    assert digests(bundle) == before


def test_a_failed_proof_writes_no_bundle(shop):
    recipe = shop.recipe()
    failed = shop.run("build", recipe, "--set", "prove.max_kl=0.000001")
    assert failed.code == 4
    assert failed.last["event"] == "error"
    assert "KL" in failed.last["diagnostics"][0]["message"]
    assert failed.last["diagnostics"][0]["hint"]
    assert [p.name for p in (shop.folder / "artifacts").iterdir()] == ["small-1.0.0-pi5-8gb.failed.report.html"]
    assert shop.run("build", recipe).code == 0
    assert not (shop.folder / "artifacts" / "small-1.0.0-pi5-8gb.failed.report.html").exists()


def test_a_failed_proof_keeps_the_older_bundle(shop):
    recipe = shop.recipe()
    built = shop.run("build", recipe)
    before = digests(shop.folder / built.last["bundle"])
    assert shop.run("build", recipe, "--set", "prove.max_kl=0.000001").code == 4
    assert digests(shop.folder / built.last["bundle"]) == before


def test_a_damaged_bundle_is_written_again(shop):
    recipe = shop.recipe()
    built = shop.run("build", recipe)
    bundle = shop.folder / built.last["bundle"]
    before = digests(bundle)
    (bundle / "index.json").write_text("{}")
    again = shop.run("build", recipe)
    assert ran(again) == ["bundle"]
    assert digests(bundle) == before
    # `edgec verify` refuses this as well.
    (bundle / "blobs/added").mkdir()
    assert ran(shop.run("build", recipe)) == ["bundle"]
    assert not (bundle / "blobs/added").exists()


def test_a_stored_result_that_rotted_is_made_again(shop):
    recipe = shop.recipe()
    first = shop.run("build", recipe)
    (stored,) = [p for p in (shop.folder / "cache/store/results").rglob("*.gguf") if "reference" not in p.name]
    before = stored.stat()
    stored.chmod(0o644)
    with stored.open("r+b") as file:
        file.seek(before.st_size - 100)
        file.write(b"rot")
    # What a disk does: no time stamp tells of it.
    os.utime(stored, ns=(before.st_atime_ns, before.st_mtime_ns))
    stored.chmod(0o444)
    subprocess.run(["rm", "-rf", shop.folder / "artifacts"], check=True)
    again = shop.run("build", recipe)
    assert again.code == 0, again.err
    assert ran(again) == ["bundle", "compile", "prove"]
    assert again.last["digest"] == first.last["digest"]
    assert shop.run("verify", shop.folder / again.last["bundle"]).code == 0


def test_a_model_that_does_not_fit_is_refused_before_anything_is_written(shop):
    refused = shop.run("build", shop.recipe(), "--set", f"target={shop.small_board()}", "--set", "batch=100")
    assert refused.code == 2
    mistake = refused.last["diagnostics"][0]
    assert "does not fit" in mistake["message"]
    # The place is the number to change.
    assert mistake["hint"].startswith("set `batch: ")
    assert mistake["source_line"] == "batch=100"
    assert not (shop.folder / "cache" / "store").exists()


@pytest.mark.parametrize(
    "mistake", ["misfit", "source.path=.", "context=99999"], ids=["misfit", "no model", "too long a context"]
)
def test_no_key_is_made_for_a_recipe_with_a_mistake(shop, mistake):
    sets = ["--set", mistake]
    if mistake == "misfit":
        sets = ["--set", f"target={shop.small_board()}", "--set", "batch=100"]
    refused = shop.run("build", shop.recipe(), *sets)
    assert refused.code == 2, refused.last
    assert not (shop.folder / "config").exists()
    assert "key" not in refused.err


def test_a_build_with_nothing_to_do_imports_nothing_heavy():
    code = (
        "import sys, edgec.commands.build;"
        "heavy = {'torch', 'transformers', 'numba', 'xllamacpp', 'numpy', 'tokenizers', 'edgec.plan.plan'};"
        "bad = heavy & set(sys.modules); print(bad); sys.exit(bool(bad))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("name", ["artifacts", "cache"])
def test_an_unwritable_folder_is_a_clear_error(shop, name):
    # A file where a folder must be refuses root too, which permissions do not.
    (shop.folder / name).write_text("in the way")
    refused = shop.run("build", shop.recipe())
    assert refused.code in (2, 3)
    assert refused.last["diagnostics"][0]["hint"]
    assert (shop.folder / name).read_text() == "in the way"


@pytest.mark.parametrize("below", ["", "/deep/er"])
def test_an_output_that_is_a_file_is_said_before_the_build(shop, below):
    (shop.folder / "out").write_text("mine")
    refused = shop.run("build", shop.recipe(), "--output", f"{shop.folder}/out{below}")
    assert refused.code == 2
    (diagnostic,) = refused.last["diagnostics"]
    assert diagnostic["message"] == "is a file, not a folder"
    assert diagnostic["place"] == str(shop.folder / "out")
    assert ran(refused) == []


def test_what_to_run_next_can_be_run_as_it_is(shop):
    text = subprocess.run(
        [sys.executable, "-m", "edgec", "build", shop.recipe(), "-o", "my models & more"],
        cwd=shop.folder, env=shop.env, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    (line,) = [x.strip() for x in text.splitlines() if x.strip().startswith("edgec verify ")]
    assert shlex.split(line) == ["edgec", "verify", "my models & more/small-1.0.0-pi5-8gb"]


def test_an_archive_is_never_that_of_an_older_build(shop):
    recipe = shop.recipe()
    older = shop.run("build", recipe, "--archive")
    assert older.code == 0, older.err
    archive = shop.folder / older.last["archive"]
    before = archive.read_bytes()
    assert shop.run("build", recipe, "--archive").last["cached"] is True
    # Without --archive the bundle is a newer one, and the archive beside it is not.
    shop.run("build", recipe, "--set", "description=newer")
    newer = shop.run("build", recipe, "--set", "description=newer", "--archive")
    assert ran(newer) == ["bundle"]
    assert archive.read_bytes() != before
    assert shop.run("verify", archive).last["digest"] == newer.last["digest"]


def test_a_plan_says_what_runs_and_what_nobody_needs(shop):
    recipe = shop.recipe()
    before = shop.run("plan", recipe).last
    assert all(a["runs"] for a in before["actions"])
    assert ran(shop.run("build", recipe)) == [a["kind"] for a in before["actions"]]
    shop.run("clean", "--references")
    after = shop.run("plan", recipe).last
    assert [a["kind"] for a in after["actions"] if not a["cached"]] == ["reference"]
    assert not any(a["runs"] for a in after["actions"])
    assert after["disk_bytes"] == 0
    assert ran(shop.run("build", recipe)) == []
