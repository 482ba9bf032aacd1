"""From bytes to a document: encodings, binary files, files that can't be read."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.document import decode_document, read_document
from lora_lab.document.read import LARGEST
from lora_lab.failure import Failure


@given(st.binary())
def test_any_bytes_are_read(data: bytes) -> None:
    """Whatever a file holds, nothing is raised."""
    decode_document(data)
    decode_document(b'{"net_dim": ' + data)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_files_are_read(encoding: str) -> None:
    """UTF-8 with or without a byte-order mark is read in silence; PowerShell's UTF-16 is read and reported."""
    document = decode_document('{"a": "日本"}'.encode(encoding))
    assert document.values == {"a": "日本"}
    assert document.broken == (encoding == "utf-16")


def test_other_encodings_are_named_with_their_place() -> None:
    """A file in cp1252 is a problem at the first wrong byte, and its other keys are read."""
    document = decode_document('{"a": 1,\n "b": "é"}'.encode("cp1252"))
    assert document.values["a"] == 1
    (problem,) = document.problems
    assert "UTF-8" in problem.message
    assert "E9" in problem.message
    assert (problem.span.line, problem.span.column) == (2, 8)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"PK\x03\x04....", "zip"),
        (b"\x89PNG\r\n\x1a\n", "picture"),
        ((2).to_bytes(8, "little") + b"{}", "safetensors"),
        (b"ab\x00cd", "binary"),
    ],
)
def test_binary_files_are_named(data: bytes, what: str) -> None:
    """A model or picture given by mistake is called what it is, in one problem."""
    (problem,) = decode_document(data).problems
    assert what in problem.message


def test_a_file_is_read_with_its_path(tmp_path: Path) -> None:
    """The document knows where it comes from."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"net_dim": 8}), encoding="utf-8")
    document = read_document(path)
    assert document.path == path
    assert document.values == {"net_dim": 8}


def test_what_cannot_be_read_is_a_failure(tmp_path: Path) -> None:
    """A missing file, a folder, a huge file and an impossible name are failures with something to do about it."""
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(LARGEST + 1)
    for path in (tmp_path / "gone.json", tmp_path, huge, Path("a\0b"), tmp_path / ("x" * 5000)):
        with pytest.raises(Failure) as caught:
            read_document(path)
        assert caught.value.what
        assert caught.value.remedy


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_a_failure(tmp_path: Path) -> None:
    """A file that the user may not read is a failure."""
    path = tmp_path / "config.json"
    path.write_text("{}")
    path.chmod(0)
    with pytest.raises(Failure):
        read_document(path)
