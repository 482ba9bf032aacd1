"""Files and folders appear whole or not at all."""

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from lora_lab import whole_files
from lora_lab.whole_files import whole_file, whole_folder, write_whole


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def test_content_and_permissions(tmp_path: Path) -> None:
    """Text is UTF-8 with its line ends as they are, bytes are bytes, and a file keeps its permissions."""
    path = tmp_path / "ä.txt"
    write_whole(path, "ä\r\nb\n")
    assert path.read_bytes() == "ä\r\nb\n".encode()
    path.chmod(0o600)
    write_whole(path, b"\xff")
    assert path.read_bytes() == b"\xff"
    assert sys.platform == "win32" or stat.S_IMODE(path.stat().st_mode) == 0o600
    assert names(tmp_path) == ["ä.txt"]


def test_long_names(tmp_path: Path) -> None:
    """A name of as many bytes as a file system takes can be written."""
    path = tmp_path / ("語" * 80 + ".txt")
    write_whole(path, "x")
    assert path.read_text() == "x"


def test_order_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is fsynced before the rename, the folder after it."""
    done: list[str] = []
    sync, replace = os.fsync, Path.replace

    def note_sync(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    def note_replace(self: Path, target: Path) -> Path:
        done.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    write_whole(tmp_path / "x", "x")
    assert done == (["file", "rename"] if sys.platform == "win32" else ["file", "rename", "folder"])


def test_a_full_disk_keeps_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the content can't be written, the old file and the old folder stay, and nothing lies beside them."""
    write_whole(tmp_path / "x", "old")
    with whole_folder(tmp_path / "f") as folder:
        (folder / "a").write_text("old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "x", "new")
    with pytest.raises(OSError, match="No space left"), whole_folder(tmp_path / "f") as folder:
        (folder / "a").write_text("new")
    assert (tmp_path / "x").read_text() == (tmp_path / "f" / "a").read_text() == "old"
    assert names(tmp_path) == ["f", "x"]


def test_a_folder_that_a_crash_left_between_two_renames(tmp_path: Path) -> None:
    """The old folder comes back where the new one did not make it, and is replaced by the next."""
    (tmp_path / ".f.old").mkdir()
    (tmp_path / ".f.old" / "a").write_text("old")
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "f"):
        raise RuntimeError
    assert (tmp_path / "f" / "a").read_text() == "old"
    with whole_folder(tmp_path / "f") as folder:
        (folder / "b").write_text("new")
    assert names(tmp_path / "f") == ["b"]
    assert names(tmp_path) == ["f"]


def test_a_file_that_a_library_writes(tmp_path: Path) -> None:
    """It takes its place when the library is done, and nothing stays beside it; where that fails, the old one stays."""
    with whole_file(tmp_path / "f") as new:
        new.write_text("one")
        new.with_name("f-journal").write_text("beside it")
        assert not (tmp_path / "f").exists()
    assert names(tmp_path) == ["f"]
    with pytest.raises(IsADirectoryError), whole_file(tmp_path / "f") as new:
        new.mkdir()
    assert names(tmp_path) == ["f"]
    assert (tmp_path / "f").read_text() == "one"


def test_nobody_else_renames() -> None:
    """No other module of the package writes a temporary file of its own."""
    package = Path(whole_files.__file__).parent
    others = [path for path in package.rglob("*.py") if path.name != "whole_files.py"]
    assert len(others) > 100
    for path in others:
        assert "os.fsync" not in path.read_text(encoding="utf-8"), path


def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    """Python has half a character for each byte of a name that is no UTF-8: JSON with one is written, and read back."""
    name = b"out\xe9".decode("utf-8", "surrogateescape")
    write_whole(tmp_path / "a.json", json.dumps({"folder": name}, ensure_ascii=False))
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"folder": name}
