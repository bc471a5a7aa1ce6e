"""Asks the CUDA driver for the compute capability of every visible GPU. edgec starts this file and never imports it.

It prints one JSON object: {"sm": [87]}. No context is made, so that it takes no memory of the GPU.
"""

from __future__ import annotations

import ctypes
import json
import sys

# CUdevice_attribute in cuda.h.
_MAJOR = 75
_MINOR = 76


def main() -> int:
    """Prints the answer; the exit code is 1 where no driver answers."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        sys.stderr.write("the driver does not start\n")
        return 1
    found = [_capability(driver, index) for index in range(count.value)]
    sys.stdout.write(json.dumps({"sm": found}) + "\n")
    return 0


def _capability(driver: ctypes.CDLL, index: int) -> int:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    calls = (
        driver.cuDeviceGet(ctypes.byref(device), index),
        driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device),
        driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device),
    )
    if any(calls):
        raise SystemExit(f"the driver answers {calls}")
    return major.value * 10 + minor.value


if __name__ == "__main__":
    raise SystemExit(main())
