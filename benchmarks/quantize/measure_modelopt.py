"""The same with modelopt, by the script that edgec runs in its toolchain, in whose environment this file runs.

python measure_modelopt.py METHOD CHECKPOINT WINDOWS OUT TOKENS      WINDOWS: a file with lists of tokens
"""

from __future__ import annotations

import importlib.util
import json
import resource
import sys
import time
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "compiler" / "edgec" / "quantize" / "inside" / "modelopt_export.py"


def main() -> None:
    """Runs what the command line names."""
    method, checkpoint, windows, out, _tokens = sys.argv[1:]
    begin = time.monotonic()
    spec = importlib.util.spec_from_file_location("modelopt_export", SCRIPT)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{SCRIPT} is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    request = {"checkpoint": checkpoint, "out": out, "windows": windows, "method": method, "group_size": 128}
    answer = module.run(request, lambda *_: None)
    own = resource.getrusage(resource.RUSAGE_SELF)
    found = {
        "versions": answer["versions"],
        "wall_s": round(time.monotonic() - begin, 1),
        "cpu_s": round(own.ru_utime + own.ru_stime, 1),
        "peak_mib": peak_mib(),
    }
    print(json.dumps(found))


def peak_mib() -> int:
    """Peak resident set; not ru_maxrss, which begins with that of the process this one was forked from."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) >> 10


if __name__ == "__main__":
    main()
