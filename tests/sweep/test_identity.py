"""Which runs count as the same."""

import hashlib
import json
from pathlib import Path

import pytest

from lora_lab.config import PARAMETERS, UNDECIDING, TrainConfig, check
from lora_lab.sweep.identity import INPUTS, Digests, identity

BASE = {"base_model": "/m", "img_folder": "/d", "output_folder": "/o"}
CONTENT = {"base_model": "aa", "img_folder": "bb"}


def config_of(**values: object) -> TrainConfig:
    """Return a valid config with these values on top of the required ones."""
    checked = check({**BASE, **values})
    assert checked.problems == ()
    return checked.config


def test_the_lists_name_real_parameters() -> None:
    """Every key that is treated specially exists, and none is treated in two ways."""
    assert set(PARAMETERS) >= UNDECIDING | set(INPUTS)
    assert not UNDECIDING & set(INPUTS)
    paths = {name for name, known in PARAMETERS.items() if known.path_kind not in (None, "output_folder")}
    assert paths - {"load_json_path"} == set(INPUTS)


@pytest.mark.parametrize(
    "values",
    [
        *({"net_dim": 4}, {"unet_lr": 1e-3}, {"test_seed": 2}, {"flip_aug": True}, {"save_precision": "bf16"}),
        {"cache_latents": False},  # then every use of a picture has a latent sample of its own
    ],
)
def test_what_decides_the_result_changes_the_identity(values: dict[str, object]) -> None:
    """A run with another rank, rate, seed or saved precision is another run."""
    assert identity(config_of(**values), CONTENT) != identity(config_of(), CONTENT)


@pytest.mark.parametrize(
    "values",
    [
        {"output_folder": "/p"},
        {"num_workers": 2},
        {"save_every_n_steps": 5},
        {"cache_latents_to_disk": True},
        {"net_dim": 32},
    ],
)
def test_what_decides_nothing_does_not(values: dict[str, object]) -> None:
    """Places, workers, saving, caching, and a default written out leave the identity as it is."""
    assert identity(config_of(**values), CONTENT) == identity(config_of(), CONTENT)


def test_content_counts_and_not_its_place() -> None:
    """The same data elsewhere is the same run; other data in the same place is not."""
    assert identity(config_of(img_folder="/elsewhere"), CONTENT) == identity(config_of(), CONTENT)
    assert identity(config_of(), {**CONTENT, "img_folder": "cc"}) != identity(config_of(), CONTENT)


def test_the_order_of_the_keys_does_not_count() -> None:
    """Two files with the same keys in another order give one identity."""
    turned = check(dict(reversed([*BASE.items(), ("net_dim", 4)]))).config
    assert identity(turned, CONTENT) == identity(config_of(net_dim=4), CONTENT)


def test_digests_follow_pictures_and_captions_only(tmp_path: Path) -> None:
    """A changed caption or a renamed picture is other data; a cache or note among them is not."""
    folder = tmp_path / "data" / "2_cat"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(b"picture")
    (folder / "a.txt").write_text("a cat")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "weights").write_bytes(b"w")
    config = config_of(img_folder="data", base_model="base")

    def digests() -> dict[str, str]:
        return Digests(tmp_path).of(config)

    first = digests()
    assert set(first) == {"img_folder", "base_model"}
    (folder / "a.npz").write_bytes(b"cache")
    (folder / ".hidden.png").write_bytes(b"x")
    assert digests() == first
    (folder / "a.txt").write_text("a dog")
    assert digests()["img_folder"] != first["img_folder"]
    (folder / "a.txt").write_text("a cat")
    (folder / "a.png").rename(folder / "b.png")
    assert digests()["img_folder"] != first["img_folder"]
    (tmp_path / "base" / "weights").write_bytes(b"v")
    assert digests()["base_model"] != first["base_model"]
    (tmp_path / "data").rename(tmp_path / "moved")
    (folder.parent.parent / "moved" / "2_cat" / "b.png").rename(tmp_path / "moved" / "2_cat" / "a.png")
    moved = Digests(tmp_path).of(config_of(img_folder="moved", base_model="base"))
    assert moved["img_folder"] == first["img_folder"]


def test_identities_outlive_new_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parameter that a later version adds does not make another run of one that leaves it alone."""
    before = identity(config_of(net_dim=4), CONTENT)
    fewer = {name: known for name, known in PARAMETERS.items() if name not in ("min_snr_gamma", "net_dim")}
    monkeypatch.setattr("lora_lab.sweep.identity.PARAMETERS", {**fewer, "net_dim": PARAMETERS["net_dim"]})
    assert identity(config_of(net_dim=4), CONTENT) == before


def test_an_identity_is_the_same_for_ever() -> None:
    """A known config has a known identity: whoever changes it, or a default, raises VERSION and writes the new one."""
    assert identity(config_of(net_dim=4, unet_lr=1e-3), CONTENT).startswith("c289926dbe25df1f")
    deciding = sorted(set(PARAMETERS) - UNDECIDING - set(INPUTS))
    defaults = {name: PARAMETERS[name].default for name in deciding if PARAMETERS[name].row <= 65}
    text = json.dumps(defaults, sort_keys=True, default=str)
    assert hashlib.sha256(text.encode()).hexdigest().startswith("10caabe7ce14dc22"), text
