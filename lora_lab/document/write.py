"""A changed text takes the place of its file, whole or not at all."""

from pathlib import Path

from lora_lab.document.document import Document
from lora_lab.failure import Failure
from lora_lab.whole_files import write_whole


def encoded(document: Document) -> bytes:
    """Return a JSON document's text as UTF-8, with the byte-order mark and line ends that it had."""
    mark = "\ufeff" if any(problem.kind == "bom" for problem in document.problems) else ""
    return (mark + document.text).encode("utf-8")


def write_document(path: Path, document: Document) -> None:
    """Write a JSON document.

    A link stays a link, and the file keeps its permissions. Raises `Failure` if it can't be written.
    """
    try:
        write_whole(path.resolve(), encoded(document))
    except OSError as error:
        raise Failure(f"can't write {path}: {error.strerror}", "check the permissions") from None
