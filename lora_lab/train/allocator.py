"""Memory that a step frees is kept for the next one, which would ask the system for it again, page by page."""

import contextlib
import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of <malloc.h>, mallopt(3)
_ALL = 2**31 - 1
_LARGEST = 32 << 20
"""The largest threshold that glibc takes (HEAP_MAX / 2): blocks beyond it are mapped and given back one by one."""


def keep_freed_memory() -> None:
    """Tell glibc to hold on to what is freed, in blocks of up to 32 MiB.

    By its default it gives the end of its heap back after each step and takes it again, with a page fault for each
    4 KiB. Larger blocks stay with the system: aligned as torch wants them, glibc before 2.38 does not find their place
    in the heap again, and takes a new one. Other allocators, and systems without glibc, are left alone.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, _ALL)
