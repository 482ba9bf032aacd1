"""A view that notes which settings a rule looks at, so that its answer can be used again where they are the same."""

from collections.abc import Callable, Collection, Iterator, Mapping, Set
from dataclasses import replace
from typing import Any

from lora_lab.config import PARAMETERS
from lora_lab.document import Document, Entry
from lora_lab.lint.engine import NOWHERE
from lora_lab.lint.rule import View


class Recorder:
    """Says for one view what was looked at. `watched` are the keys worth noting; `seen` collects them."""

    def __init__(self, view: View, watched: Collection[str], faulty: Collection[str] | None = None) -> None:
        """`faulty` are the watched keys whose value can be a problem: all where it is None."""
        self.seen: set[str] = set()
        self._watched = frozenset(watched)
        self._faulty = self._watched if faulty is None else frozenset(faulty)
        self.view: Any = _View(view, self)

    def look(self, key: object) -> None:
        """Note that somebody looked at a key."""
        if key in self._watched:
            self.seen.add(str(key))

    def look_at_problems(self) -> None:
        """Note that somebody looked at what is wrong with any value."""
        self.seen |= self._faulty

    def look_at_all(self) -> None:
        """Note that somebody looked at everything."""
        self.seen |= self._watched


class _View:
    """Stands for a `View`. What it does not have to note, it takes from the view itself."""

    def __init__(self, view: View, recorder: Recorder) -> None:
        self._view = view
        self._recorder = recorder
        self.config = _Config(view.config, recorder)
        self.values = _Values(view.values, recorder, lambda key, value: value)
        self.given = _Given(view.given, recorder)
        self._document: Document | None = None

    @property
    def problems(self) -> Any:
        self._recorder.look_at_problems()
        return self._view.problems

    @property
    def document(self) -> Document:
        if self._document is None:
            own = self._view.document
            self._document = replace(own, entries=_Values(own.entries, self._recorder, _entry))
        return self._document

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)


def _entry(key: str, entry: Any) -> Entry:
    return entry if isinstance(entry, Entry) else Entry(key, entry, NOWHERE, NOWHERE)


class _Config:
    """Stands for a `TrainConfig`."""

    def __init__(self, config: Any, recorder: Recorder) -> None:
        self._config = config
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        made = getattr(type(self._config), name, None)
        if isinstance(made, property) and made.fget is not None:
            return made.fget(self)  # what is made of settings looks at those only
        if name in PARAMETERS:
            self._recorder.look(name)
        else:
            self._recorder.look_at_all()
        return getattr(self._config, name)


class _Values(Mapping[str, Any]):
    """Stands for a mapping of keys to values. Which keys there are is no secret, what they hold is."""

    def __init__(self, values: Mapping[str, Any], recorder: Recorder, shown: Callable[[str, Any], Any]) -> None:
        self._values = values
        self._recorder = recorder
        self._shown = shown

    def __getitem__(self, key: str) -> Any:
        value = self._values[key]
        self._recorder.look(key)
        return self._shown(key, value)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class _Given(Set[str]):
    """Stands for the set of keys that are not null."""

    def __init__(self, given: Set[str], recorder: Recorder) -> None:
        self._given = given
        self._recorder = recorder

    @classmethod
    def _from_iterable(cls, it: Any) -> Any:
        return frozenset(it)

    def __contains__(self, key: object) -> bool:
        self._recorder.look(key)
        return key in self._given

    def __iter__(self) -> Iterator[str]:
        self._recorder.look_at_all()
        return iter(self._given)

    def __len__(self) -> int:
        self._recorder.look_at_all()
        return len(self._given)

    def __ge__(self, other: Set[Any]) -> bool:
        return all(key in self for key in other)
