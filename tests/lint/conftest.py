"""Reads the examples in the rules' pages and lays them out on disk; the option that rewrites golden outputs."""

import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lora_lab.document.dialects import decode_config
from lora_lab.lint import Disk, LintResult, Rule, lint_document
from lora_lab.lint.data_folder import PICTURE_SUFFIXES
from lora_lab.lint.machine import Machine

_TENSORS = b"safetensors "
_PICTURE = re.compile(r"(half of |animated )?([0-9]+)x([0-9]+)")
_ANIMATION = b"\0\0\0\x08acTL\0\0\0\x02\0\0\0\0\xf3\x8d\x93\x70"
_BLOCK = re.compile(r"```(json|files|machine|toml|sh)\n(.*?)```", re.DOTALL)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that rewrites golden outputs."""
    parser.addoption("--update", action="store_true", help="write the outputs of tests/cases anew")


REQUIRED = {"base_model": "a/base", "img_folder": "a/pictures", "output_folder": "a/out"}
"""What an example about something else need not say."""

_STANDARD_FILES = "a/base/model_index.json: {}\na/pictures/10_cat/a.png\na/pictures/10_cat/b.png"


def _example(rule: Rule, heading: str) -> tuple[str, str, dict[str, str]]:
    """Return the format of an example's config, the config, and the example's files and machine."""
    blocks = dict(_BLOCK.findall(rule.sections[heading]))
    around = {name: blocks.pop(name) for name in ("files", "machine") if name in blocks}
    ((form, text),) = blocks.items()
    return form, text.strip(), around


def png(width: int, height: int, chunks: bytes = b"") -> bytes:
    """Return a whole PNG of black pixels, with chunks between its header and its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = chunk(b"IHDR", width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x01\0\0\0\0")
    pixels = zlib.compress((b"\0" + bytes((width + 7) // 8)) * height)
    return b"\x89PNG\r\n\x1a\n" + header + chunks + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _content(path: str, text: str) -> bytes:
    """Return a file's bytes: a picture of 512x512 or of the size that is said, what is written, or nothing."""
    if not text and Path(path).suffix.lower() in PICTURE_SUFFIXES:
        return png(512, 512)
    if said := _PICTURE.fullmatch(text):
        whole = png(int(said[2]), int(said[3]), _ANIMATION if said[1] == "animated " else b"")
        return whole[: len(whole) // 2] if said[1] == "half of " else whole
    data = b"" if text == "(empty)" else text.encode("latin-1").decode("unicode_escape").encode("latin-1")
    if data.startswith(_TENSORS):
        data = data.removeprefix(_TENSORS)
        data = len(data).to_bytes(8, "little") + data
    return data


def _lay_out(files: str, folder: Path) -> None:
    """Make files from lines `path: content`.

    \\xff and the like are bytes, `safetensors {...}` is such a header, `640x480` is a picture of that size,
    also `half of` it or `animated`, `(empty)` a file of 0 bytes; a picture of which nothing is said has 512x512 pixels.
    """
    for line in filter(None, map(str.strip, files.splitlines())):
        path, _, content = line.partition(":")
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(_content(path, content.strip()))


def _judge(rule: Rule, heading: str, folder: Path, described: Callable[[str], Machine]) -> LintResult:
    """Lint a rule's example as it stands in a folder with its files, on the machine that it describes."""
    form, text, around = _example(rule, heading)
    _lay_out(_STANDARD_FILES, folder)
    _lay_out(around.get("files", ""), folder)
    of_its_own = {"LL001", "LL006", "LL007", "LL009", "LL014", "LL727"}
    if form == "json" and rule.sees != "theirs" and rule.code not in of_its_own:
        values: dict[str, Any] = json.loads(text)
        text = json.dumps(REQUIRED | values)
    document = decode_config(text.encode(), folder / f"config.{form}")
    machine = described(around["machine"]) if "machine" in around else None
    return lint_document(document, Disk(folder), rule.targets[0], machine)


@pytest.fixture
def judge(tmp_path: Path, described: Callable[[str], Machine]) -> Callable[[Rule, str], LintResult]:
    """Return the function that lints a rule's example, with its files laid out in a folder of its own."""
    return lambda rule, heading: _judge(rule, heading, tmp_path, described)


@pytest.fixture
def lay_out(tmp_path: Path) -> Callable[[str], Path]:
    """Return the function that makes files from lines like `path: content`; it returns their folder."""

    def laid_out(files: str) -> Path:
        _lay_out(files, tmp_path)
        return tmp_path

    return laid_out


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    """Whether golden outputs are to be written anew."""
    return bool(request.config.getoption("--update", default=False))
