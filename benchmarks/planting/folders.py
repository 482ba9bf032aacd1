"""Plants for the mistakes that lie in files and folders."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from planting.plants import Plant, clean_files, lora_file, model_folder, png

FORMS: Final = ("own-json", "own-yaml", "own-toml", "gui", "toml", "sh")


def _moved(old: str, new: str) -> dict[str, bytes | None]:
    """Return the clean files with one folder under another name."""
    here = {name: data for name, data in clean_files().items() if name.startswith(old)}
    return {**dict.fromkeys(here), **{name.replace(old, new, 1): data for name, data in here.items()}}


def leaf_folder(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: leaf folder."""
    for form in FORMS:
        yield Plant(form, "character", {"train_data_dir": "pictures/10_cat"}, files={})
        folder = rng.choice(["cats", "my cats", "img"])
        yield Plant(form, "style", {"train_data_dir": folder}, files=_moved("pictures/10_cat", folder))


def folder_names(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: folder names."""
    for form in FORMS:
        name = rng.choice(["cat", "10-cat", "x10_cat", "cat_10", "ten_cat", "_10_cat"])
        yield Plant(form, rng.choice(["character", "unet"]), files=_moved("pictures/10_cat", f"pictures/{name}"))
        stray = rng.choice(["CROP", "raw", "unused"])
        yield Plant(form, "style", files={f"pictures/{stray}/a.png": png(), f"pictures/{stray}/a.txt": b"a cat"})


def captions_elsewhere(_: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: captions elsewhere."""
    for form in FORMS:
        yield Plant(form, "character", {"caption_extension": ".caption"}, files={}, target="lora_lab")


def other_family(_: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: other family."""
    for form in FORMS[:3]:
        yield Plant(form, "character", {"v2": True, "clip_skip": 1}, files=dict(model_folder(768)))
        yield Plant(form, "style", {"v2": False}, files=dict(model_folder(1024)))
    for form in ("sh", "ps1", "bat"):
        yield Plant(form, "sdxl", {"v2": True}, files=dict(model_folder(2048)))


def other_rank(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: other rank."""
    for form in FORMS:
        rank = rng.choice([4, 8, 24, 128])
        change = {"network_weights": "before.safetensors"}
        yield Plant(form, "character", change, files={"before.safetensors": lora_file(rank)})


def wrong_state(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: wrong state."""
    for form in FORMS[:3]:
        yield Plant(form, "character", {"resume": "logs"}, files={"logs/events.out.tfevents.1": b"x"})
        yield Plant(form, "style", {"resume": rng.choice(["out/cat-state", "nowhere"])}, files={})


def v_base(_: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: v base."""
    for form in FORMS[:3]:
        yield Plant(form, "character", files=dict(model_folder(768, "v_prediction")))


def flat_regularisation(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: flat regularisation."""
    for form in FORMS:
        folder = rng.choice(["reg", "class pictures", "regularisation"])
        change = {"reg_data_dir": folder}
        yield Plant(form, "character", change, files={f"{folder}/{at}.png": png() for at in range(3)})


def caption_bytes(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: caption bytes."""
    for form in FORMS:
        data = rng.choice([b"a \x93sks\x94 cat", "кот".encode("cp1251"), "猫咪在家".encode("gbk"), b"caf\xe9"])
        yield Plant(form, "character", files={"pictures/10_cat/0.txt": data})


def large_batch(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: large batch."""
    one = {f"pictures/10_cat/{at}.{end}": None for at in range(1, 6) for end in ("png", "txt")}
    for form in FORMS:
        yield Plant(form, "character", {"train_batch_size": rng.choice([11, 16, 32])}, files=one)


OF_FOLDERS: Final[dict[int, Callable[[Random], Iterator[Plant]]]] = {
    1: leaf_folder, 2: folder_names, 3: captions_elsewhere, 8: other_family, 23: other_rank, 24: wrong_state,
    25: v_base, 26: flat_regularisation, 29: caption_bytes, 31: large_batch,
}  # fmt: skip
