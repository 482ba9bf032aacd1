"""Files and folders that are there whole or not at all, whatever ends the process or the machine meanwhile.

Each is written under a temporary name in the same folder, fsynced, renamed, and the folder fsynced: a reader sees the
old content or the new, and what was there stays where the disk is full.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

_NAME_LENGTH = 40  # of the final name in the temporary one: 255 bytes are the limit, and a letter may take four


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8 with its line ends as they are; one that is there keeps its permissions.

    A half of a character, which Python has for each byte of a file's name that is no UTF-8, is written as JSON has it.
    Raises OSError; what was there then stays as it was.
    """
    temporary = path.with_name(f".{path.name[:_NAME_LENGTH]}.{uuid.uuid4().hex[:8]}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(path, temporary)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Within, a library writes the file under the name that is given; afterwards it takes the place of `path`.

    It is in a folder of its own, for what the library puts beside it. What a crash left of an earlier attempt goes.
    Raises OSError; what was there then stays as it was.
    """
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    new = partial / path.name
    try:
        yield new
        with new.open("rb+") as stream:
            os.fsync(stream.fileno())
        new.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync_folder(path.parent)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Within, the folder is filled under the name that is given; afterwards it takes the place of `path`.

    What a crash left of an earlier attempt goes. Raises OSError; what was there then stays as it was.
    """
    partial, old = (path.with_name(f".{path.name}.{ending}") for ending in ("partial", "old"))
    recover_folder(path)
    for left in (partial, old):
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for file in partial.iterdir():
            with file.open("rb+") as stream:
                os.fsync(stream.fileno())
        sync_folder(partial)
        if path.exists():
            path.rename(old)
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(path: Path) -> None:
    """Give a folder its place again where a crash came between the two renames of `whole_folder`."""
    old = path.with_name(f".{path.name}.old")
    if old.exists() and not path.exists():
        old.rename(path)


def sync_folder(folder: Path) -> None:
    """Make a rename in the folder outlive a power cut; a system that can't (Windows) is left alone."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
