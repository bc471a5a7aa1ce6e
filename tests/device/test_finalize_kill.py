"""Power may fail at any moment: the engine in use is always a proven one, and the next run goes on to the end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# Forks a run for every effect on the file system that it has, and kills it right before that effect.
_KILLER = """
import itertools, json, os, shutil, signal, sys
from pathlib import Path

sys.path[:0] = sys.argv[1:3]
from device_case import ARTIFACT, Device, WEIGHTS, edgellm_plan, make_bundle
from edgec.device.check_receipt import check_receipt
from edgec.device.finalize import finalize
from edgec.device.places import holds

EFFECTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.truncate", "shutil.rmtree"}
root = Path(sys.argv[3])
plan = edgellm_plan(model_at_run_time=True)
old, new = (make_bundle(root / v, plan, weights=WEIGHTS * n, version=v) for v, n in (("1.0.0", 1), ("2.0.0", 2)))
device = Device(root / "device", [])

def writes(event, arguments):
    # Reading is no effect.
    return event != "open" or not isinstance(arguments[2], int) or arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)

def finish(bundle):
    return finalize(bundle, artifact=None, bench=device.bench())

def killed_at(step):
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    steps = itertools.count(1)
    def hook(event, arguments):
        inside = str(device.folder / "state")
        here = any(isinstance(a, (str, bytes, os.PathLike)) and inside in os.fsdecode(a) for a in arguments)
        if event in EFFECTS and here and writes(event, arguments) and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    finish(new)
    os._exit(0)

def in_use():
    place = device.shelf / "current"
    found = check_receipt(place / "receipt.json", config=device.folder / "config", public_key=None,
                          engine=place / "engine", accept_stand_in=True)
    return found.receipt.bundle.version

state, before = device.folder / "state", root / "before"
finish(old)
shutil.copytree(state, before, symlinks=True)
found = []
for step in itertools.count(1):
    shutil.rmtree(state)
    shutil.copytree(before, state, symlinks=True)
    if not killed_at(step):
        break
    found.append(in_use())
    finish(new)
    assert in_use() == "2.0.0"
    left = [p.name for p in (device.shelf / "current").iterdir() if ".new" in p.name or ".partial" in p.name]
    assert not left, left
print(json.dumps(found))
"""


def test_a_kill_before_any_effect_leaves_a_proven_engine_in_use(tmp_path: Path) -> None:
    here = Path(__file__).parent
    arguments = [sys.executable, "-c", _KILLER, str(here), str(here.parent / "bundle"), str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) > 40
    assert set(found) == {"1.0.0", "2.0.0"}
    assert found == sorted(found)
