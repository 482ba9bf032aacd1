"""LoRA files: kohya's names and hashes, nothing half-written, no code from a pickle."""

import hashlib
import json
import pickle
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from torch import nn

from lora_lab.failure import Failure
from lora_lab.train.adapters.lora import LoraWeights
from lora_lab.train.lora_file import SAVE_DTYPES, load_into, read_lora, save_lora, state_dict, with_hashes
from lora_lab.train.pack import AdapterOptions, Pack

Layers = list[tuple[str, LoraWeights]]


def layers_of(rank: int = 3, alpha: float = 1.5, width: int = 6) -> Layers:
    """The adapter of a model with a linear layer and a 1 × 1 convolution, up not zero."""
    owner = nn.Module()
    owner.q, owner.conv = nn.Linear(width, 5), nn.Conv2d(width, 7, 1)
    pack = Pack({"lora_te_text_model_q": (owner, "q"), "lora_unet_conv": (owner, "conv")})
    pack.add(0, AdapterOptions(rank=rank, alpha=alpha, dropout=0.0, unet=True, text_encoder=True, seed=1))
    found = list(pack.weights(0))
    for _, weights in found:
        nn.init.normal_(weights.up)
    return found


@pytest.fixture
def layers() -> Layers:
    """An adapter of rank 3, alpha 1.5."""
    return layers_of()


def parse(path: Path) -> tuple[dict[str, Any], bytes]:
    """A safetensors file read by hand: its header and all bytes after it."""
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


@pytest.mark.parametrize(
    ("precision", "code", "bytes_each"), [("float", "F32", 4), ("fp16", "F16", 2), ("bf16", "BF16", 2)]
)
def test_names_shapes_and_precision(layers: Layers, tmp_path: Path, precision: str, code: str, bytes_each: int) -> None:
    """Each layer has down, up and a 0-d alpha under kohya's names, all in the precision asked for."""
    save_lora(tmp_path / "x.safetensors", state_dict(layers, SAVE_DTYPES[precision]), {})
    header, body = parse(tmp_path / "x.safetensors")
    header.pop("__metadata__")
    assert {name: (entry["dtype"], entry["shape"]) for name, entry in header.items()} == {
        "lora_te_text_model_q.alpha": (code, []),
        "lora_te_text_model_q.lora_down.weight": (code, [3, 6]),
        "lora_te_text_model_q.lora_up.weight": (code, [5, 3]),
        "lora_unet_conv.alpha": (code, []),
        "lora_unet_conv.lora_down.weight": (code, [3, 6, 1, 1]),
        "lora_unet_conv.lora_up.weight": (code, [7, 3, 1, 1]),
    }
    assert len(body) == bytes_each * (2 + 18 + 15 + 18 + 21)


def test_values_come_back(layers: Layers, tmp_path: Path) -> None:
    """What is written is read again bit for bit, in every format, and goes into another adapter."""
    state = state_dict(layers, torch.float32)
    for ending in ("safetensors", "ckpt", "pt", "bin"):
        save_lora(tmp_path / f"x.{ending}", state, {"ss_v2": "False"})
        found = read_lora(tmp_path / f"x.{ending}")
        assert found.keys() == state.keys()
        assert all(torch.equal(found[name], state[name]) for name in state)
    other = layers_of()
    load_into(other, found, tmp_path)
    for (_, mine), (_, theirs) in zip(layers, other, strict=True):
        assert torch.equal(mine.down, theirs.down)
        assert torch.equal(mine.up, theirs.up)
    assert float(state["lora_unet_conv.alpha"]) == 1.5


def test_state_does_not_follow_training(layers: Layers) -> None:
    """A state dict in half precision is a copy: what is trained on later does not reach it."""
    state = state_dict(layers, torch.float16)
    before = state["lora_unet_conv.lora_up.weight"].clone()
    with torch.no_grad():
        dict(layers)["lora_unet_conv"].up.add_(1)
    assert torch.equal(state["lora_unet_conv.lora_up.weight"], before)


def test_model_hash_is_that_of_the_body(layers: Layers, tmp_path: Path) -> None:
    """`sshs_model_hash` is the SHA-256 of every byte after the header, and metadata does not change it."""
    state = state_dict(layers, torch.float16)
    save_lora(tmp_path / "x.safetensors", state, {"ss_seed": "1", "modelspec.title": "x"})
    save_lora(tmp_path / "y.safetensors", state, {"ss_seed": "2"})
    header, body = parse(tmp_path / "x.safetensors")
    about = header["__metadata__"]
    assert about["sshs_model_hash"] == hashlib.sha256(body).hexdigest()
    assert (about["ss_seed"], about["modelspec.title"]) == ("1", "x")
    assert parse(tmp_path / "y.safetensors")[0]["__metadata__"]["sshs_model_hash"] == about["sshs_model_hash"]


def test_legacy_hash(tmp_path: Path) -> None:
    """`sshs_legacy_hash` is of 64 KiB at 1 MiB of a file with the ss_ metadata alone; modelspec does not move it."""
    state = {"a.lora_down.weight": torch.arange(400_000, dtype=torch.float32)}
    hashes = with_hashes(state, {"ss_seed": "1", "modelspec.title": "anything"})
    safetensors.torch.save_file(state, tmp_path / "bare.safetensors", metadata={"ss_seed": "1"})
    window = (tmp_path / "bare.safetensors").read_bytes()[0x100000:0x110000]
    assert len(window) == 0x10000
    assert hashes["sshs_legacy_hash"] == hashlib.sha256(window).hexdigest()[:8]
    assert hashes["ss_seed"] == "1"
    assert hashes["modelspec.title"] == "anything"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (layers_of(rank=4), "rank 3, the config net_dim 4"),
        (layers_of(alpha=3.0), r"alpha 1\.5, the config 3"),
        (layers_of(width=8), "another width"),
        (layers_of()[:1], "also has lora_unet_conv"),
        ([*layers_of(), ("lora_unet_more", layers_of()[1][1])], "no tensors for lora_unet_more"),
    ],
    ids=["rank", "alpha", "width", "a layer more", "a layer less"],
)
def test_lora_of_another_shape(layers: Layers, tmp_path: Path, other: Layers, message: str) -> None:
    """A file of another rank, alpha, width or set of layers is refused with its path, not loaded in part."""
    before = [weights.up.clone() for _, weights in other]
    with pytest.raises(Failure, match=message) as caught:
        load_into(other, state_dict(layers, torch.float32), tmp_path)
    assert str(tmp_path) in str(caught.value)
    if len(other) == 1:
        assert all(torch.equal(weights.up, old) for (_, weights), old in zip(other, before, strict=True))


def test_alpha_as_files_keep_it(tmp_path: Path) -> None:
    """A file without alpha means alpha = rank, and an alpha that bf16 rounded is still the config's."""
    odd = layers_of(alpha=10.3)
    load_into(odd, state_dict(odd, torch.bfloat16), tmp_path)
    equal = layers_of(rank=3, alpha=3.0)
    load_into(equal, {k: v for k, v in state_dict(equal, torch.float32).items() if "alpha" not in k}, tmp_path)
    with pytest.raises(Failure, match=r"alpha 3, the config 1\.5"):
        load_into(
            layers_of(), {k: v for k, v in state_dict(equal, torch.float32).items() if "alpha" not in k}, tmp_path
        )


class Code:
    """An object whose unpickling writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.marker, "executed"))


@pytest.mark.parametrize("ending", ["ckpt", "pt", "bin"])
@pytest.mark.parametrize("new_format", [True, False])
def test_code_in_a_pickle_never_runs(tmp_path: Path, ending: str, new_format: bool) -> None:
    """A pickle that would run code on loading is refused, and the code did not run."""
    marker, file = tmp_path / "marker", tmp_path / f"evil.{ending}"
    content = {"a.lora_down.weight": torch.zeros(1), "code": Code(marker)}
    torch.save(content, file, _use_new_zipfile_serialization=new_format)
    with pytest.raises(Failure, match="evil"):
        read_lora(file)
    file.write_bytes(pickle.dumps(content["code"]))
    with pytest.raises(Failure, match="evil"):
        read_lora(file)
    assert not marker.exists()
    pickle.loads(pickle.dumps(content["code"]))
    assert marker.exists()  # the code does run where pickles are trusted


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {1: torch.zeros(1)}, {"a": torch.zeros(1)}, "text"])
def test_pickles_of_something_else(tmp_path: Path, content: object) -> None:
    """A harmless file that holds no LoRA is refused."""
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(Failure, match=r"x\.pt"):
        read_lora(tmp_path / "x.pt")


@given(content=st.binary(max_size=200), ending=st.sampled_from(["safetensors", "pt", "ckpt"]))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes, ending: str) -> None:
    """Whatever bytes a file holds, reading it is a Failure and no other error."""
    file = tmp_path_factory.getbasetemp() / f"any.{ending}"
    file.write_bytes(content)
    with pytest.raises(Failure, match="any"):
        read_lora(file)


def test_missing_and_truncated(layers: Layers, tmp_path: Path) -> None:
    """A file that is not there or ends in the middle is refused by name."""
    with pytest.raises(Failure, match=r"none\.safetensors does not exist"):
        read_lora(tmp_path / "none.safetensors")
    for ending in ("safetensors", "pt"):
        path = tmp_path / f"half.{ending}"
        save_lora(path, state_dict(layers, torch.float32), {})
        path.write_bytes(path.read_bytes()[:-60])
        with pytest.raises(Failure, match="half"):
            read_lora(path)


@contextmanager
def full_disk() -> Iterator[None]:
    """Within, the operating system takes no file larger than 100 bytes: not for longer, as pytest's own log is one."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_nothing_half_written(layers: Layers, tmp_path: Path, ending: str) -> None:
    """When the disk is full, the older file of that name stays whole and no part of the new one is left."""
    path = tmp_path / f"x.{ending}"
    path.write_bytes(b"older")
    with full_disk(), pytest.raises(Failure, match="cannot be written"):
        save_lora(path, state_dict(layers, torch.float32), {})
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_folder_that_is_gone(layers: Layers, tmp_path: Path) -> None:
    """Writing into a folder that is not there is a Failure in both formats."""
    for ending in ("safetensors", "pt"):
        with pytest.raises(Failure, match="cannot be written"):
            save_lora(tmp_path / "gone" / f"x.{ending}", state_dict(layers, torch.float32), {})


def test_metadata_in_the_file(layers: Layers, tmp_path: Path) -> None:
    """Metadata is in the safetensors header as given, beside the two hashes."""
    path = tmp_path / "x.safetensors"
    save_lora(path, state_dict(layers, torch.float32), {"ss_tag_frequency": '{"a": 1}', "ss_vae_name": "None"})
    with safe_open(path, "pt") as file:
        about = file.metadata()
    assert about.keys() == {"ss_tag_frequency", "ss_vae_name", "sshs_model_hash", "sshs_legacy_hash"}
    assert about["ss_tag_frequency"] == '{"a": 1}'


def test_equal_loras_are_equal_files(layers: Layers, tmp_path: Path) -> None:
    """The metadata stand in one order, which the library changes from call to call; tensors and padding are whole."""
    state, about = state_dict(layers, torch.float32), {f"ss_{number}ä": "x" for number in range(20)}
    for name in ("a", "b"):
        save_lora(tmp_path / f"{name}.safetensors", state, about)
    content = (tmp_path / "a.safetensors").read_bytes()
    assert content == (tmp_path / "b.safetensors").read_bytes()
    assert int.from_bytes(content[:8], "little") % 8 == 0
    assert all(torch.equal(value, state[key]) for key, value in read_lora(tmp_path / "a.safetensors").items())
