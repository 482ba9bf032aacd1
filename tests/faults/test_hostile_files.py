"""Files that nobody wrote to be read: told in a line, in bounded time and memory."""

import contextlib
import json
import os
import shutil
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

import lora_lab
from lora_lab.cli import group
from lora_lab.config import check
from lora_lab.document.tensor_table import read_safetensors
from lora_lab.failure import Failure
from lora_lab.lint import Disk
from lora_lab.lint.picture_header import read_picture_header
from lora_lab.sweep.grid import can_name_a_folder
from lora_lab.train.base_files.weights import read_state
from lora_lab.train.data import pixels
from lora_lab.train.data.folder import scan

PACKAGED = Path(lora_lab.__file__).parent / "quickstart"
pipes = pytest.mark.skipif(sys.platform == "win32", reason="no pipes in folders")


def picture() -> Path:
    """A sound picture."""
    return sorted((PACKAGED / "pictures").glob("*/*.png"))[0]


def refused(*words: str) -> str:
    """Return what a command says that refuses."""
    result: Result = CliRunner().invoke(group, list(words), standalone_mode=False)
    if isinstance(result.exception, Failure):
        return str(result.exception)
    assert result.exception is None, result.exception
    assert result.return_value in (1, 2)
    assert len(result.output) < 20_000
    return result.output


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder `d/1_x` with one sound picture and its caption, and a config that names it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "d" / "1_x"
    folder.mkdir(parents=True)
    shutil.copy(picture(), folder / "a.png")
    (folder / "a.txt").write_text("a lumi")
    values = {"base_model": str(PACKAGED / "base"), "img_folder": "d", "output_folder": "out", "net_dim": 2, "alpha": 2}
    (tmp_path / "c.json").write_text(json.dumps(values))
    return folder


@pipes
def test_a_pipe_among_the_pictures(data: Path) -> None:
    """Nobody waits for a pipe's writer, neither for a picture nor for a caption, nor for the end of /dev/zero."""
    os.mkfifo(data / "b.png")
    assert "no file" in refused("lint", "--isolated", "c.json")
    with pytest.raises(Failure, match=r"b\.png is not a picture that can be read \(it is a pipe"):
        scan(data.parent)
    (data / "b.png").unlink()
    (data / "b.png").symlink_to("/dev/zero")
    with pytest.raises(Failure, match="it is a pipe, a device"):
        scan(data.parent)
    (data / "b.png").unlink()
    (data / "a.txt").unlink()
    os.mkfifo(data / "a.txt")
    with pytest.raises(Failure, match=r"a\.txt cannot be read \(it is a pipe"):
        scan(data.parent)
    CliRunner().invoke(group, ["lint", "--isolated", "c.json"])


@pipes
@pytest.mark.parametrize("name", ["m.ckpt", "m.safetensors"])
def test_a_pipe_for_a_model(name: str, data: Path, tmp_path: Path) -> None:
    """A pipe is no base, no VAE and no LoRA, and lint says so."""
    os.mkfifo(tmp_path / name)
    values = json.loads((tmp_path / "c.json").read_text())
    for key in ("base_model", "vae", "lora_model_for_resume"):
        (tmp_path / "m.json").write_text(json.dumps({**values, key: name}))
        assert name in refused("lint", "--isolated", "m.json")
    os.mkfifo(tmp_path / "p.json")
    assert "pipe" in refused("train", "p.json")
    assert "pipe" in refused("sweep", "p.json")


@pipes
def test_links_in_circles(data: Path) -> None:
    """A link to itself is told, and hides nothing else; a folder that leads back up is not walked round."""
    (data / "b.png").symlink_to("b.png")
    (data / "round").symlink_to("../..")
    assert Disk(data).listing(data).files == ("a.png", "a.txt", "b.png")
    said = refused("lint", "--isolated", "c.json")
    assert "link that leads nowhere" in said
    assert "has no picture" not in said
    with pytest.raises(Failure, match=r"b\.png"):
        scan(data.parent)


def png(width: int, height: int) -> bytes:
    """A PNG that says it has that size, and has a few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(60000, 60000), (2**31 - 1, 2**31 - 1), (0, 5)])
def test_absurd_sizes(size: tuple[int, int], data: Path) -> None:
    """Billions of pixels are refused by their header alone, before memory is asked for."""
    (data / "b.png").write_bytes(png(*size))
    assert "error" in refused("lint", "--isolated", "c.json")
    with pytest.raises(Failure, match=r"b\.png"):
        pixels.load(data / "b.png")


@pytest.mark.parametrize("form", ["EPS", "PCX", "TGA", "SGI"])
def test_other_formats_by_another_name(form: str, tmp_path: Path) -> None:
    """What is called .png and is of a format that is not told is refused: for EPS Pillow would run Ghostscript."""
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path, format=form)
    header = read_picture_header(path)
    assert header is not None
    assert not header.sized
    with pytest.raises(Failure, match="cannot be decoded"):
        pixels.load(path)
    (tmp_path / "d" / "1_x").mkdir(parents=True)
    path.rename(tmp_path / "d" / "1_x" / "a.png")
    with pytest.raises(Failure, match="not a picture"):
        scan(tmp_path / "d")


def test_a_zip_bomb(tmp_path: Path) -> None:
    """A small archive that grows to a gigabyte is refused before it is opened."""
    path = tmp_path / "b.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("archive/data.pkl", "w") as inner:
        for _ in range(200):
            inner.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(Failure, match="would grow to"):
        read_state(path)


def header(about: object) -> bytes:
    """A .safetensors file with that header and eight bytes."""
    text = about if isinstance(about, bytes) else json.dumps(about).encode()
    return len(text).to_bytes(8, "little") + text + bytes(8)


LIES = {
    "length": (2**63).to_bytes(8, "little") + b"{}",
    "longer": (10**6).to_bytes(8, "little") + b"{}",
    "beyond": header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4096]}}),
    "backwards": header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [8, 4]}}),
    "overlap": header({n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "ab"}),
    "shape": header({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}}),
    "negative": header({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}),
    "dtype": header({"a": {"dtype": "COMPLEX", "shape": [1], "data_offsets": [0, 4]}}),
    "twice": header(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'
    ),
    "deep": header(b'{"a":' + b"[" * 100_000),
    "list": header([1, 2]),
    "metadata": header({"__metadata__": {"a": {"b": 1}}}),
}


@pytest.mark.parametrize("lie", LIES)
def test_headers_that_lie(lie: str, tmp_path: Path) -> None:
    """Lint reads names or says that it can't; the trainer refuses each in a line."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(LIES[lie])
    Disk(tmp_path).model(path)
    with contextlib.suppress(Failure):
        read_safetensors(path)
    with pytest.raises(Failure):
        read_state(path)


@pytest.mark.parametrize("name", ["../../x", "a/b", "a\\b", "x\0y", "a\nb", "\x1b[31m", ".", ".."])
def test_names_that_lead_elsewhere(name: str) -> None:
    """`change_output_name` and a sweep's name are names, never ways."""
    assert [problem.key for problem in check({"change_output_name": name}).problems if problem.kind == "range"]
    assert not can_name_a_folder(name)


@pytest.mark.parametrize("name", ["CON", "nul.txt", "COM1", "a:b", "a" * 300, " ", "日" * 80])
def test_names_no_system_takes(name: str) -> None:
    """Windows' devices, and names that are longer than file systems take."""
    assert not can_name_a_folder(name)


BASE = f"base: {{base_model: {json.dumps(str(PACKAGED / 'base'))}, img_folder: i, output_folder: o}}\n"
HUNDRED = list(range(1, 101))
GRIDS = {
    "product": f"parameters: {{net_dim: {HUNDRED}, alpha: {HUNDRED}, max_steps: {HUNDRED}, test_seed: {HUNDRED}}}",
    "aliases": "a: &a [1,1,1,1,1,1,1,1]\n"
    + "".join(f"{b}: &{b} [*{a}{f',*{a}' * 9}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "power": "parameters: {net_dim: [8, 16], alpha: 9**9**9**9}",
    "text": "parameters: {net_dim: [8, 16], alpha: \"'a' * 10**9\"}",
    "import": "parameters: {net_dim: [8, 16], alpha: \"__import__('os').system('touch owned')\"}",
    "lambda": 'parameters: {net_dim: [8, 16], alpha: "(lambda: 1)()"}',
    "attribute": 'parameters: {net_dim: [8, 16], alpha: "(net_dim).__class__ + 1"}',
    "range": "parameters: {learning_rate: {min: 1e-6, max: 1e-3, count: 1000000000}}",
    "deep": "parameters: " + "{a: " * 5000,
}


@pytest.mark.parametrize("name", GRIDS)
def test_grids(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products without an end, sums that fill the memory, Python in an expression: refused, and nothing is run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lora_lab.sweep.points.MOST_POINTS", 2000)
    Path("g.yaml").write_text(BASE + GRIDS[name])
    refused("sweep", "--dry-run", "g.yaml")
    assert not Path("owned").exists()


@pytest.mark.parametrize("name", ["git+ssh://a@b/c", "git@github.com:a/b.git", "https://evil/x.ckpt", "file:///etc/x"])
def test_addresses_are_no_models(name: str, data: Path, tmp_path: Path) -> None:
    """Nothing is fetched from an address: a model is a path, or owner/name on the hub."""
    values = json.loads((tmp_path / "c.json").read_text())
    (tmp_path / "c.json").write_text(json.dumps({**values, "base_model": name}))
    assert "base_model" in refused("lint", "--isolated", "c.json")


def test_code_of_others_is_never_asked_for() -> None:
    """`trust_remote_code` stands in the package as False alone."""
    sources = [path.read_text(encoding="utf-8") for path in Path(lora_lab.__file__).parent.rglob("*.py")]
    named = [line for text in sources for line in text.splitlines() if "trust_remote_code" in line]
    assert named
    assert all("trust_remote_code=False" in line for line in named)
