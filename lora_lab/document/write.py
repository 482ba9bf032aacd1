"""A changed text takes the place of its file, whole or not at all."""

import os
import shutil
import uuid
from pathlib import Path

from lora_lab.document.document import Document
from lora_lab.failure import Failure


def encoded(document: Document) -> bytes:
    """Return a JSON document's text as UTF-8, with the byte-order mark and line ends that it had."""
    mark = "\ufeff" if any(problem.kind == "bom" for problem in document.problems) else ""
    return (mark + document.text).encode("utf-8")


def write_document(path: Path, document: Document) -> None:
    """Write a JSON document.

    A link stays a link, and the file keeps its permissions. Raises `Failure` if it can't be written.
    """
    target = path.resolve()
    temporary = target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex[:8]}.part")
    try:
        with temporary.open("wb") as file:
            file.write(encoded(document))
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(target, temporary)
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise Failure(f"can't write {path}: {error.strerror}", "check the permissions") from None
