"""Memory that a step frees is kept for the next one, which would ask the system for it again, page by page."""

import contextlib
import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of <malloc.h>, mallopt(3)
_ALL = 2**31 - 1


def keep_freed_memory() -> None:
    """Tell glibc to hold on to what is freed, and to take no large block from the system by itself.

    By its default every tensor above 32 MiB is mapped anew, which means a page fault for each 4 KiB: a tenth of a
    second in a step of 0.7 s. The peak stays; other allocators, and systems without glibc, are left alone.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _ALL)
