"""Two costs of starting Python and pydantic that a linter of one small file need not pay."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_LOADER = "pydantic.plugin._loader"


@contextmanager
def quick_start() -> Iterator[None]:
    """Import and build models without the garbage collector and without a search for pydantic's plugins.

    The collector would only look through what is being imported. To find plugins, none of which a linter wants,
    pydantic imports `importlib.metadata`, with zip, mail and socket modules: a tenth of the whole process. Where the
    inside of pydantic changes, that search simply takes place. Both are as before when the block ends.
    """
    gc.disable()
    stand_in = ModuleType(_LOADER)
    stand_in.__dict__["get_plugins"] = lambda *_, **__: ()
    placed = sys.modules.setdefault(_LOADER, stand_in) is stand_in
    try:
        yield
    finally:
        gc.enable()
        if placed:
            del sys.modules[_LOADER]
