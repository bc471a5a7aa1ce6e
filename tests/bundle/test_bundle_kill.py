"""Killed at any moment, a writer leaves the old bundle or the new one, and nothing for good beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# Forks a writer for every effect on the file system it has, and kills it right before that effect.
_KILLER = """
import itertools, json, os, signal, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from bundle_case import derived_key, make_content
from edgec.bundle import replace
from edgec.bundle.verify import verify_bundle
from edgec.bundle.write import write_bundle
from edgec.events import silent

EFFECTS = {"open", "os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "shutil.rmtree"}
root, way = Path(sys.argv[2]), sys.argv[3]
out, key = root / "out", derived_key(5)
old, new = (make_content(root / v, version=v) for v in ("1.0.0", "2.0.0"))

def prepare():
    if way == "steps":
        write_bundle(new, root / "other", key=key, report=silent)

def replace_old():
    if way == "exchange":
        write_bundle(new, out, key=key, report=silent)
    else:
        replace.replace_in_steps(root / "other", out)

def killed_at(step):
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    steps = itertools.count(1)
    def hook(event, arguments):
        if (event in EFFECTS or event.startswith("ctypes.")) and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    replace_old()
    os._exit(0)

found = []
for step in itertools.count(1):
    if not out.exists() or found[-1] == "2.0.0":
        write_bundle(old, out, key=key, report=silent)
    prepare()
    if not killed_at(step):
        break
    # What every writer does first; where folders cannot be exchanged, this puts the old one back.
    if way == "steps":
        replace.clear_leftovers(out)
    found.append(verify_bundle(out, public_key=key.public).manifest.version)
    replace.clear_leftovers(out)
    leftovers = [p.name for p in root.iterdir() if p.name.startswith(".")]
    assert not leftovers, leftovers
print(json.dumps(found))
"""


@pytest.mark.parametrize(("way", "effects"), [("exchange", 30), ("steps", 10)])
def test_a_kill_before_any_effect_leaves_the_old_or_the_new_bundle(tmp_path: Path, way: str, effects: int) -> None:
    arguments = [sys.executable, "-c", _KILLER, str(Path(__file__).parent), str(tmp_path), way]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) > effects
    assert set(found) == {"1.0.0", "2.0.0"}
    assert found == sorted(found)
