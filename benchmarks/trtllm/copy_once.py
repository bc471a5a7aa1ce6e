"""The peer: a plain copy of a file, ended by fsync. Usage: copy_once.py FROM TO"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_STEP_BYTES = 8 << 20

buffer = memoryview(bytearray(_STEP_BYTES))
with Path(sys.argv[1]).open("rb", buffering=0) as source, Path(sys.argv[2]).open("wb", buffering=0) as target:
    while count := source.readinto(buffer):
        target.write(buffer[:count])
    os.fsync(target.fileno())
