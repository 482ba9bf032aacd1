"""A changed text takes the place of its file, whole or not at all."""

from pathlib import Path

from lora_lab.document.document import Document
from lora_lab.failure import Failure
from lora_lab.whole_files import write_whole

_MARK = b"\xef\xbb\xbf"


def encoded(document: Document, before: bytes) -> bytes:
    """Return a document's text as UTF-8, with the line ends that it had, and a byte-order mark if `before` has one."""
    return (_MARK if before.startswith(_MARK) else b"") + document.text.encode("utf-8")


def write_document(path: Path, document: Document) -> None:
    """Put a document in the place of the file that it was read from.

    A link stays a link, and the file keeps its permissions. Raises `Failure` if it can't be written.
    """
    try:
        target = path.resolve()
        _refuse_protected(target, path)
        write_whole(target, encoded(document, target.read_bytes()))
    except OSError as error:
        raise Failure(f"can't write {path}: {error.strerror}", "check the permissions") from None


def _refuse_protected(target: Path, path: Path) -> None:
    """Raise `Failure` where a file is read-only: the folder would let it be replaced, but its owner said no."""
    if not target.stat().st_mode & 0o222:
        raise Failure(f"can't write {path}: it is read-only", "make it writable, or leave --fix out")
