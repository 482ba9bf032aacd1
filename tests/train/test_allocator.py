"""Memory that is kept between steps."""

import ctypes
import os
import subprocess
import sys

import pytest

from lora_lab.train.allocator import keep_freed_memory

MEASURE = """
import resource, sys
import torch
from lora_lab.train.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def step():
    [torch.ones(8 << 20, dtype=torch.uint8) for _ in range(8)]
for _ in range(10):  # until the heap has found its places
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="it is about glibc")
def test_a_step_gets_the_memory_of_the_last_one() -> None:
    """Eight tensors of 8 MiB fault in their pages once, and not in every step.

    The thresholds begin as glibc documents them: by itself it moves them, by what the process happened to free before.
    """
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    faults = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", MEASURE, how], capture_output=True, check=True, text=True, env=environment
            ).stdout
        )
        for how in ("keep", "plain")
    }
    assert faults["keep"] < 100 < 1000 < faults["plain"]


@pytest.mark.parametrize("error", [AttributeError("mallopt"), OSError("no library"), TypeError("not here")])
def test_elsewhere_nothing_happens(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems without glibc, and Windows, have no such switch."""

    def refuse(name: None) -> None:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    keep_freed_memory()
