"""Quantizes once with edgec and prints what it took, as JSON: a process of its own, so that its peak is its own.

python measure.py METHOD CHECKPOINT TEXT OUT TOKENS
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from edgec.events import silent
from edgec.quantize.layout import plan_quantized
from edgec.quantize.run import quantize_checkpoint
from edgec.quantize.settings import QuantizeSettings
from edgec.source.local import open_local


def main() -> None:
    """Runs what the command line names."""
    method, checkpoint, text, out, tokens = sys.argv[1:]
    begin = time.monotonic()
    source = open_local(Path(checkpoint))
    layout = plan_quantized(source.header, QuantizeSettings(method, max_tokens=int(tokens)))  # type: ignore[arg-type]
    calibration = Path(text).read_text(encoding="utf-8")
    quantize_checkpoint(source, layout, calibration, Path(out), report=silent, action="quantize")
    own = resource.getrusage(resource.RUSAGE_SELF)
    found = {
        "planned_mib": layout.memory_mib,
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
