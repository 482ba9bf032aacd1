"""Names and shapes of the tensors in a pickled model (.ckpt, .pt, .bin), which is read and never run.

A pickle is a program for a small stack machine. `pickletools` lists its steps; here they are followed on paper: what
would be a call becomes a note of its name, and only what torch's own writers produce is understood.
"""

import io
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lora_lab.document.tensor_table import Tensor, TensorTable
from lora_lab.failure import Failure
from lora_lab.plain_files import open_file

MOST_BYTES: Final = 16 * 1024 * 1024
"""Bytes of a pickle that are looked at; that of an SD 1.x checkpoint has 0.3 million, the numbers lie elsewhere."""

MOST_STEPS: Final = 1_000_000
"""Steps of the machine; an SD 1.x checkpoint takes some 60,000."""

MOST_PICKLES: Final = 4
"""Pickles in a row: the format before torch 1.6 has a magic number, a version and the system before the tensors."""

_DTYPES: Final = {
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "DoubleStorage": "F64",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}


class _Mark:
    """Where a slice of the stack begins."""


class _Unknown:
    """A value that does not matter."""


@dataclass(frozen=True)
class _Name:
    """What a pickle would import: a class or function, by its last name."""

    text: str


@dataclass(frozen=True)
class _Storage:
    """The numbers of a tensor, which lie elsewhere."""

    dtype: str


_MARK = _Mark()
_UNKNOWN = _Unknown()


def read_pickled(path: Path) -> TensorTable:
    """Return the tensors of a pickled model, without running it; raises `Failure` if it can't be read or is none."""
    try:
        for data in _pickles(path):
            stream = io.BytesIO(data)
            for _ in range(MOST_PICKLES):
                table = _tensors(_followed(stream))
                if table:
                    return TensorTable({}, table)
    except FileNotFoundError:
        raise Failure(f"no such file: {path}", "check the spelling and the folder") from None
    except OSError as error:
        raise Failure(f"can't read {path}: {error.strerror or error}") from None
    except (ValueError, LookupError, TypeError, EOFError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile):
        pass
    raise Failure(f"{path} holds no tensors that torch wrote")


def _pickles(path: Path) -> Iterator[bytes]:
    """Yield the start of each pickle that a file may hold: `data.pkl` in a zip archive, or the file itself."""
    with open_file(path) as file:
        if file.read(2) != b"PK":
            file.seek(0)
            yield file.read(MOST_BYTES)
            return
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.rpartition("/")[2] == "data.pkl":
                    with archive.open(name) as member:
                        yield member.read(MOST_BYTES)
                    return


@dataclass
class _Machine:
    """The stack and the memo of a pickle that is followed."""

    stack: list[object] = field(default_factory=list)
    memo: dict[int, object] = field(default_factory=dict)

    def above_mark(self) -> list[object]:
        """Take off what lies above the last mark, and the mark."""
        above: list[object] = []
        while (top := self.stack.pop()) is not _MARK:
            above.append(top)
        return above[::-1]

    def set_items(self, items: list[object]) -> None:
        """Put keys and values, in turn, into the dict on top."""
        target = self.stack[-1]
        if isinstance(target, dict):
            pairs = zip(items[::2], items[1::2], strict=False)
            target.update((key, value) for key, value in pairs if isinstance(key, str))


def _called(name: object, arguments: object) -> object:
    """Return what a call would give, as far as it tells a tensor's shape or holds names."""
    if not isinstance(name, _Name) or not isinstance(arguments, tuple):
        return _UNKNOWN
    if name.text == "OrderedDict":
        return {}
    if name.text == "_rebuild_parameter" and arguments:
        return arguments[0]
    if name.text in ("_rebuild_tensor", "_rebuild_tensor_v2") and len(arguments) > 2:
        storage, size = arguments[0], arguments[2]
        if isinstance(storage, _Storage) and isinstance(size, tuple) and all(type(side) is int for side in size):
            return Tensor(storage.dtype, size)
    return _UNKNOWN


def _stored(note: object) -> object:
    """Return the storage that a persistent id ("storage", class, key, device, numel) names."""
    if isinstance(note, tuple) and len(note) > 1 and note[0] == "storage" and isinstance(note[1], _Name):
        return _Storage(_DTYPES.get(note[1].text, ""))
    return _UNKNOWN


def _reduce(machine: _Machine, _: object) -> None:
    arguments, name = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(_called(name, arguments))


def _stack_global(machine: _Machine, _: object) -> None:
    name, _module = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(_Name(name.rpartition(".")[2]) if isinstance(name, str) else _UNKNOWN)


def _small_tuple(length: int) -> Callable[[_Machine, object], None]:
    def made(machine: _Machine, _: object) -> None:
        if len(machine.stack) < length:
            raise LookupError("a pickle that takes more than there is")
        parts = tuple(machine.stack[-length:])
        machine.stack[-length:] = [parts]

    return made


def _set_item(machine: _Machine, _: object) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.set_items([key, value])


def _dict(machine: _Machine, _: object) -> None:
    items = machine.above_mark()
    machine.stack.append({})
    machine.set_items(items)


def _put(machine: _Machine, place: object) -> None:
    machine.memo[place if isinstance(place, int) else len(machine.memo)] = machine.stack[-1]


_STEPS: Final[Mapping[str, Callable[[_Machine, object], object]]] = {
    "MARK": lambda machine, _: machine.stack.append(_MARK),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "DICT": _dict,
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.above_mark())),
    "TUPLE1": _small_tuple(1),
    "TUPLE2": _small_tuple(2),
    "TUPLE3": _small_tuple(3),
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: machine.set_items(machine.above_mark()),
    "GLOBAL": lambda machine, text: machine.stack.append(_Name(str(text).rpartition(" ")[2].rpartition(".")[2])),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "BINPERSID": lambda machine, _: machine.stack.append(_stored(machine.stack.pop())),
    "BUILD": lambda machine, _: machine.stack.pop(),
    "PUT": _put,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": _put,
    "GET": lambda machine, place: machine.stack.append(machine.memo[place]),  # type: ignore[index]
    "BINGET": lambda machine, place: machine.stack.append(machine.memo[place]),  # type: ignore[index]
    "LONG_BINGET": lambda machine, place: machine.stack.append(machine.memo[place]),  # type: ignore[index]
}


def _followed(stream: io.BytesIO) -> object:
    """Follow one pickle to its end and return what it makes; raises what a broken one makes `pickletools` raise."""
    machine = _Machine()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if count >= MOST_STEPS:
            break
        if opcode.name == "STOP":
            return machine.stack.pop()
        step = _STEPS.get(opcode.name)
        if step is not None:
            step(machine, argument)
        else:
            _other_step(machine, opcode, argument)
    raise ValueError("a pickle without an end")


def _other_step(machine: _Machine, opcode: pickletools.OpcodeInfo, argument: object) -> None:
    """Do to the stack what the step's description says; texts and whole numbers are kept, other values forgotten."""
    taken = list(opcode.stack_before)
    if pickletools.stackslice in taken:
        machine.above_mark()
        taken = taken[: taken.index(pickletools.markobject)]
    for _ in taken:
        machine.stack.pop()
    kept = argument if isinstance(argument, (str, int)) else _UNKNOWN
    machine.stack.extend(kept for _ in opcode.stack_after)


def _tensors(top: object) -> dict[str, Tensor]:
    """Return the tensors of a model, and with no shape the other names beside them, such as those of an embedding."""
    if not isinstance(top, dict):
        return {}
    inner = top.get("state_dict")
    known = {name: _first(value) for name, value in (inner if isinstance(inner, dict) else top).items()}
    return known if any(tensor.dtype for tensor in known.values()) else {}


def _first(value: object) -> Tensor:
    """Return a tensor, or the first in a dict of some, as embeddings have them."""
    inner = next(iter(value.values()), None) if isinstance(value, dict) else value
    return inner if isinstance(inner, Tensor) else Tensor("", ())
