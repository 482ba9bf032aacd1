"""From a file's bytes to a document."""

from pathlib import Path

from lora_lab.document.document import Document, Lines, ParseProblem
from lora_lab.document.json_text import parse_json
from lora_lab.failure import Failure
from lora_lab.plain_files import open_file

LARGEST = 1024 * 1024
"""Bytes; a training config has some thousand."""

_STREAMS = ("/dev/fd/", "/proc/self/fd/", "/dev/stdin")

_BINARY_STARTS = {
    b"PK\x03\x04": "a zip archive or a PyTorch checkpoint",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x1f\x8b": "a gzip archive",
}


def read_document(path: Path) -> Document:
    """Read a JSON config file.

    Raises `Failure` if there is no such file or it can't be read; what is wrong inside it is in the document's
    problems.
    """
    return decode_document(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """Return what a config file holds; raises `Failure` if there is no such file or it can't be read."""
    try:
        if path.is_dir():
            raise Failure(f"{path} is a folder, not a config file", "name a file in it")
        given = str(path).startswith(_STREAMS)  # by a shell, as in `lora-lab lint <(jq . a.json)`
        with path.open("rb") if given else open_file(path) as file:
            data = file.read(LARGEST + 1)  # some files have a size only when they are read
        if len(data) > LARGEST:
            raise too_large(str(path))
        return data
    except FileNotFoundError:
        raise Failure(f"no such file: {path}", "check the spelling and the folder") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Failure(f"can't read {path}: {reason}", "check the file and its permissions") from None


def too_large(name: str) -> Failure:
    """Return the failure for a file that is larger than `LARGEST`."""
    return Failure(f"{name} is too large for a config: more than {LARGEST:,} bytes", "a config has some thousand")


def decode_document(data: bytes, path: Path | None = None) -> Document:
    """Read the bytes of a config: UTF-8 with or without a byte-order mark, or UTF-16 with one. Nothing is raised."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16", "replace")
        return _with_problem(parse_json(text, path), "the file is UTF-16, where JSON is UTF-8", 0)
    binary = _binary(data)
    if binary:
        span = Lines("").span(0, 0)
        return Document(path, "", {}, problems=(ParseProblem(f"this is {binary}, not a config", span),))
    try:
        return parse_json(data.decode("utf-8"), path)
    except UnicodeDecodeError as error:
        at = len(data[: error.start].decode("utf-8").removeprefix("\ufeff"))
        byte = data[error.start]
        message = (
            f"the file is not UTF-8 (byte 0x{byte:02X}): save it as UTF-8, or names with such letters won't be found"
        )
        return _with_problem(parse_json(data.decode("utf-8", "replace"), path), message, at)


def _binary(data: bytes) -> str | None:
    """Say what a file is that is no text, or None."""
    for start, what in _BINARY_STARTS.items():
        if data.startswith(start):
            return what
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") < 100_000_000:
        return "a .safetensors file"
    return "a binary file" if b"\x00" in data[:4096] else None


def _with_problem(document: Document, message: str, at: int) -> Document:
    """Return the document with one more problem in front."""
    span = Lines(document.text).span(min(at, len(document.text)), min(at + 1, len(document.text)))
    problems = (ParseProblem(message, span), *document.problems)
    return Document(document.path, document.text, document.entries, document.duplicates, problems)
