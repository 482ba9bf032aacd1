"""A run on data and base that were used before: all comes from the cache, and what it stands for stays unread."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_lab.config import TrainConfig
from lora_lab.train import opening
from lora_lab.train.base_files import folder, hashes, vae

Train = Callable[..., Any]
Same = Callable[[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]], bool]
CACHED: dict[str, object] = {
    "unet_only": True,
    "validation_split": 0.25,
    "flip_aug": True,
    "caption_dropout_rate": 0.3,
    "cache_latents_to_disk": True,
    "cache_text_encoder_outputs": True,
    "cache_text_encoder_outputs_to_disk": True,
    "max_steps": 4,
}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give each test a cache of its own."""
    monkeypatch.setenv("LORA_LAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _forget_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_loaded", {})


def test_second_run_loads_neither_vae_nor_text_encoder(
    train: Train, same_tensors: Same, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With loaders that fail the second run still trains, other ranks too, and equal settings give equal bits."""

    def fail(*_: object) -> None:
        raise AssertionError("loaded")

    _forget_base(monkeypatch)
    first = train(**CACHED)
    for module, name in ((folder, "load_vae"), (folder, "_load_encoder"), (folder, "_load_tokenizer")):
        monkeypatch.setattr(module, name, fail)
    monkeypatch.setattr(vae, "vae_class", fail)
    _forget_base(monkeypatch)
    second = train(**CACHED)
    assert same_tensors(first.tensors, second.tensors)
    assert second.curve("val_loss") == first.curve("val_loss")
    _forget_base(monkeypatch)
    assert len(train(**CACHED, net_dim=8, test_seed=7, num_workers=1).curve("loss")) == 4
    _forget_base(monkeypatch)
    with pytest.raises(AssertionError, match="loaded"):
        train(**CACHED, keep_tokens=1, shuffle_captions=True)


def test_what_changes_is_encoded_anew(train: Train, own_cache: Path) -> None:
    """Another size is another latent, another clip_skip another output; captions in another order have their own."""

    def entries() -> dict[str, int]:
        return {kind: len(list((own_cache / kind).rglob("*.safetensors"))) for kind in ("latents", "texts")}

    train(**CACHED)
    before = entries()
    assert before == {"latents": 6 * 2 + 2, "texts": before["texts"]}
    train(**CACHED)
    assert entries() == before
    train(**{**CACHED, "train_resolution": 128})
    assert entries() == {"latents": 2 * before["latents"], "texts": before["texts"]}
    train(**CACHED, clip_skip=2)
    assert entries()["texts"] == 2 * before["texts"]


def test_hash_is_read_once_and_follows_the_file(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file's hash is kept when the file is old enough, and another content, size or time gives another."""
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"one")
    first = hashes.hashes_of(file).full
    assert not list((own_cache).rglob("*.json"))  # it was written a moment ago
    monkeypatch.setattr(hashes, "SETTLED", -(10**12))
    assert hashes.hashes_of(file).full == first
    assert len(list(own_cache.rglob("*.json"))) == 1
    monkeypatch.setattr(hashes, "_known", {})
    (note,) = own_cache.rglob("*.json")
    note.write_text(note.read_text().replace(first, "0" * 64))
    assert hashes.hashes_of(file).full == "0" * 64  # so the file was not read
    note.write_text("damaged")
    monkeypatch.setattr(hashes, "_known", {})
    assert hashes.hashes_of(file).full == first
    file.write_bytes(b"two")
    assert hashes.hashes_of(file).full not in (first, "0" * 64)


@pytest.mark.parametrize("whole", [False, True], ids=["warm", "pipelines after it"])
def test_warm_start_imports_little(make_config: Callable[..., TrainConfig], tmp_path: Path, whole: bool) -> None:
    """A second run imports neither transformers nor peft, scipy, bitsandbytes, compiler; pipelines work after it."""
    script = """
import sys
from pathlib import Path
from lora_lab.config import TrainConfig
from lora_lab.train.run import train_run
config = TrainConfig.model_validate_json(sys.argv[1])
train_run(config, folder=Path(sys.argv[2]), record=lambda event: None, progress=lambda step: None)
heavy = {"transformers", "peft", "scipy", "bitsandbytes", "torch._dynamo", "mlflow", "diffusers.pipelines"}
print(sorted(heavy & set(sys.modules)))
if sys.argv[3] == "True":
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from diffusers.loaders import lora_base, single_file_utils
    from diffusers.models.transformers import FluxTransformer2DModel, Transformer2DModel
    from lora_lab.train.base_files import narrow
    assert UNet2DConditionModel is narrow.unet_class() and AutoencoderKL is narrow.vae_class()
    assert hasattr(single_file_utils, "AutoImageProcessor") and hasattr(lora_base, "BaseTunerLayer")
    unet = UNet2DConditionModel.from_pretrained(config.base_model, subfolder='unet')
    layers = {type(layer) for layer in unet.modules()}
    assert Transformer2DModel in layers and FluxTransformer2DModel not in layers
    pipe = StableDiffusionPipeline.from_pretrained(config.base_model, safety_checker=None)
    pipe.load_lora_weights(sys.argv[2], weight_name="last.safetensors")
    print(pipe.get_active_adapters())
"""
    config = make_config(**CACHED).model_dump_json()
    lines = []
    for number in (1, 2):
        command = [sys.executable, "-W", "ignore", "-c", script, config, str(tmp_path / str(number)), str(whole)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        if whole:
            break
    if whole:
        assert lines[1] == "['default_0']"
    else:
        assert lines == ["[]"]
