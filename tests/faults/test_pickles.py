"""A pickle runs whatever its writer wants when it is opened. None is ever run, through any way in."""

import contextlib
import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import lora_lab
from lora_lab.cli import group
from lora_lab.document.model_header import read_model_header
from lora_lab.failure import Failure
from lora_lab.train.base_files.vae import load_vae
from lora_lab.train.base_files.weights import read_state
from lora_lab.train.lora_file import read_lora
from lora_lab.train.state import _read as read_training_state

PACKAGED = Path(lora_lab.__file__).parent / "quickstart"
LAYOUT = Path(lora_lab.__file__).parent / "train" / "base_files" / "layouts" / "sd1"


class Payload:
    """What makes a file when a pickle of it is opened."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


def _bare(marker: Path) -> bytes:
    return pickle.dumps({"state_dict": {"a": Payload(marker)}}, protocol=2)


def _zipped(marker: Path) -> bytes:
    stream = io.BytesIO()
    torch.save({"state_dict": {"b": Payload(marker), "a": torch.zeros(2)}}, stream)
    return stream.getvalue()


def _old(marker: Path) -> bytes:
    stream = io.BytesIO()
    torch.save({"b": Payload(marker), "a": torch.zeros(2)}, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


KINDS = {"bare": _bare, "zipped": _zipped, "old": _old}
ENDINGS = (".ckpt", ".pt", ".bin", ".safetensors")


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """What is there in the end if any code has run."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists(), "a pickle was run"


def test_the_payload_works(tmp_path: Path) -> None:
    """Opened by pickle itself each kind makes the marker: what the other tests prove is no accident."""
    for name, make in KINDS.items():
        made = tmp_path / name
        content = make(made)
        if content[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                inner = next(one for one in archive.namelist() if one.endswith("data.pkl"))
                content = archive.read(inner)
        reader = pickle.Unpickler(io.BytesIO(content))
        reader.persistent_load = lambda note: torch.UntypedStorage(8)  # type: ignore[method-assign]
        with contextlib.suppress(Exception):
            while True:
                reader.load()
        assert made.exists(), name


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_reader(kind: str, ending: str, marker: Path, tmp_path: Path) -> None:
    """Headers, bases, VAEs, LoRAs to go on from and states: each says that it can't, in one line, or lists names."""
    path = tmp_path / f"model{ending}"
    path.write_bytes(KINDS[kind](marker))
    state = tmp_path / "x-state"
    state.mkdir()
    shutil.copy(path, state / "training.pt")
    (state / "train_state.json").write_text('{"current_step": 1, "current_epoch": 1}')
    read_model_header(path)
    for read in (read_state, read_lora, lambda one: load_vae(one, LAYOUT), lambda one: read_training_state(state)):
        with pytest.raises(Failure) as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "key", ["base_model", "vae", "lora_model_for_resume", "base_weights", "load_previous_save_state", "folder"]
)
def test_every_command(key: str, marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """lint, train, a sweep's plan, convert and diff: wherever a config can name a file, it is not run."""
    monkeypatch.chdir(tmp_path)
    Path("model.ckpt").write_bytes(_zipped(marker))
    state = tmp_path / "old-state"
    state.mkdir()
    (state / "training.pt").write_bytes(_zipped(marker))
    (state / "train_state.json").write_text('{"current_step": 1, "current_epoch": 1}')
    values = {"base_model": str(PACKAGED / "base"), "img_folder": str(PACKAGED / "pictures"), "output_folder": "out"}
    small = {"max_steps": 1, "train_resolution": 64, "min_bucket_resolution": 64, "max_bucket_resolution": 128}
    if key == "folder":
        shutil.copytree(PACKAGED / "base", "base")
        for weights in Path("base").rglob("*.safetensors"):
            weights.with_name("pytorch_model.bin").write_bytes(_zipped(marker))
            weights.with_name("diffusion_pytorch_model.bin").write_bytes(_zipped(marker))
            weights.unlink()
        values["base_model"] = "base"
    else:
        named = {"load_previous_save_state": "old-state", "base_weights": ["model.ckpt"]}
        values[key] = named.get(key, "model.ckpt")
    Path("c.json").write_text(json.dumps({**values, **small, "mixed_precision": "no", "net_dim": 2, "alpha": 2}))
    Path("grid.yaml").write_text("base: c.json\nparameters:\n  net_dim: [2, 4]\n")
    lines = (["lint", "--isolated", "c.json"], ["sweep", "--dry-run", "grid.yaml"], ["convert", "model.ckpt"])
    for words in (*lines, ["diff", "c.json", "model.ckpt"], ["train", "c.json", "--no-tracking"]):
        result = CliRunner().invoke(group, words)
        assert result.exception is None or isinstance(result.exception, (SystemExit, Failure)), result.exception
    assert not list(tmp_path.glob("out/*.safetensors"))
