"""Parts of a base that are loaded when they are first used, which may be never: all they give may be cached."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, overload

Part = TypeVar("Part")


class Later:
    """Stands for a model until something of it is asked for; then it is loaded, once. Copies hold the model itself."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load
        self._lock = threading.RLock()
        self._model: Any = None

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the model. Raises Failure where it can't be loaded."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.now(), name)

    def now(self) -> Any:
        """Return the model."""
        with self._lock:
            if self._model is None:
                self._model = self._load()
            return self._model

    def __reduce__(self) -> tuple[Any, ...]:
        """Go to other processes as the model."""
        return _itself, (self.now(),)


def _itself(model: Any) -> Any:
    return model


class LaterParts(Sequence[Part], Generic[Part]):
    """So many parts, loaded together when one of them is asked for."""

    def __init__(self, count: int, load: Callable[[], Sequence[Part]]) -> None:
        self._count = count
        self._all = Later(lambda: tuple(load()))

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> Part: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Part]: ...
    def __getitem__(self, place: int | slice) -> Any:
        return self._all.now()[place]

    def __reduce__(self) -> tuple[Any, ...]:
        """Go to other processes as the parts."""
        return _itself, (self._all.now(),)
