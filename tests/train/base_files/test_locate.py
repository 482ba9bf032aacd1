"""Where a base is: paths as they are, names of a hub from its cache, the network only for a name that is not in it."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lora_lab.config import TrainConfig, hub_name, with_absolute_paths
from lora_lab.failure import Failure
from lora_lab.train.base_files.locate import locate_base, locate_vae
from lora_lab.train.base_files.parts import Asked
from lora_lab.train.families.sd1 import SD1


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    folder = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    return folder


def keep(cache: Path, name: str, model: Path) -> Path:
    """Put a model into the hub's cache as huggingface_hub lays it out."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    top = cache / f"models--{name.replace('/', '--')}"
    (top / "refs").mkdir(parents=True)
    (top / "refs" / "main").write_text(commit)
    return shutil.copytree(model, top / "snapshots" / commit)


@pytest.mark.parametrize(
    ("text", "on_hub"),
    [
        ("owner/name", True),
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", True),
        ("owner/name.safetensors", False),
        ("./owner/name", False),
        ("owner", False),
        ("owner/deep/name", False),
        ("/owner/name", False),
        ("~/name", False),
        ("models/sd15", False),
        ("models/misspelt", False),
        ("lora_lab:quickstart/base", False),
        ("C:\\models\\sd15", False),
        ("owner/na me", False),
    ],
)
def test_what_is_a_name_on_the_hub(tmp_path: Path, text: str, on_hub: bool) -> None:
    """`owner/name` is a hub's unless it, or its first folder, is on the disk; such a name stays as it stands."""
    (tmp_path / "models" / "sd15").mkdir(parents=True)
    assert hub_name(text, tmp_path) == (text if on_hub else None)
    config = TrainConfig(base_model=text, vae=text, img_folder="owner/name", output_folder="o")
    absolute = with_absolute_paths(config, tmp_path)
    assert ((absolute.base_model == text, absolute.vae == text) == (True, True)) == (on_hub or text == "/owner/name")
    assert absolute.img_folder == str(tmp_path / "owner" / "name")


def test_the_cache_is_enough(whole_bases: Mapping[str, Path], cache: Path) -> None:
    """A model that the cache has is loaded from there, base and VAE, without a look at the network."""
    kept = keep(cache, "somebody/tiny", whole_bases["sd1"])
    vae = keep(cache, "somebody/vae", whole_bases["sd2"] / "vae")
    assert locate_base("somebody/tiny") == kept
    assert locate_vae("somebody/vae") == vae
    assert SD1().load(Asked(locate_base("somebody/tiny"), locate_vae("somebody/vae"))).text_layers == 3


def test_paths_are_left_alone(whole_bases: Mapping[str, Path]) -> None:
    """A path is what it is, there or not; no VAE is no VAE."""
    assert locate_base(str(whole_bases["sd1"])) == whole_bases["sd1"]
    assert locate_base("/nowhere/at/all") == Path("/nowhere/at/all")
    assert locate_vae(None) is None
    assert locate_vae("/nowhere/vae.pt") == Path("/nowhere/vae.pt")


def test_without_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What neither disk nor cache has, and no network can bring, is one line that says so."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for locate, key in ((locate_base, "base_model"), (locate_vae, "vae")):
        with pytest.raises(Failure, match=f"{key} nobody/nothing .* the hub cannot be reached") as caught:
            locate("nobody/nothing")
        assert "\n" not in str(caught.value)
        assert caught.value.remedy


def test_download_runs_no_code(cache: Path, monkeypatch: pytest.MonkeyPatch, whole_bases: Mapping[str, Path]) -> None:
    """A download takes no code from the model's authors, and what comes must be a whole model."""
    from diffusers import DiffusionPipeline

    asked: list[tuple[str, dict[str, Any]]] = []
    answer = {"owner/model": str(whole_bases["sd1"]), "owner/part": str(whole_bases["sd1"] / "unet")}

    def download(name: str, **options: Any) -> str:
        asked.append((name, options))
        return answer[name]

    monkeypatch.setattr(DiffusionPipeline, "download", download)
    assert locate_base("owner/model") == whole_bases["sd1"]
    assert asked == [
        ("owner/model", {"trust_remote_code": False, "safety_checker": None, "feature_extractor": None}),
    ]
    with pytest.raises(Failure, match="owner/part has no model in diffusers' layout on the hub"):
        locate_base("owner/part")


def test_an_interrupted_download_is_taken_up(
    cache: Path, monkeypatch: pytest.MonkeyPatch, whole_bases: Mapping[str, Path]
) -> None:
    """A cache that has only a part of the model is not taken for the model."""
    from diffusers import DiffusionPipeline

    kept = keep(cache, "somebody/tiny", whole_bases["sd1"])
    shutil.rmtree(kept / "vae")
    monkeypatch.setattr(DiffusionPipeline, "download", lambda name, **options: str(whole_bases["sd1"]))
    assert locate_base("somebody/tiny") == whole_bases["sd1"]
