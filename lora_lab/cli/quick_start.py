"""A cost of starting Python that a linter of one small file need not pay."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_start() -> Iterator[None]:
    """Import and build models without the garbage collector, which would only look through what is being imported."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
