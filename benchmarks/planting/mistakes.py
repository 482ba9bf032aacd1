"""Plants for the mistakes that a config's text shows, by their numbers in tests/lint/verdicts.tsv, `#01` to `#40`."""

import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from planting.plants import GONE, Plant

SD: Final = ("toml", "sections", "sh", "ps1", "bat")
ALL: Final = (*SD, "gui", "gui-quoted", "own-json", "own-yaml", "own-toml", "easy-toml")
PLAIN: Final = ("character", "style", "unet")


def _each(forms: tuple[str, ...], bases: tuple[str, ...], *changes: dict[str, object], **more: str) -> Iterator[Plant]:
    """Yield each change in each form; the bases take turns."""
    for at, change in enumerate(changes):
        for turn, form in enumerate(forms):
            yield Plant(form, bases[(at + turn) % len(bases)], change, target=more.get("target", ""))


def no_caption_extension(_: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: no caption extension."""
    yield from _each(SD, (*PLAIN, "prodigy"), {"caption_extension": GONE})
    yield from _each(("gui", "gui-quoted", "sh"), PLAIN, {"caption_extension": ""})


def half_vae(_: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: half vae."""
    forms = ("sh", "ps1", "bat", "gui", "gui-quoted", "easy-toml")
    yield from _each(forms, ("sdxl-text",), {"no_half_vae": GONE}, {"no_half_vae": False})
    yield from _each(forms, ("sdxl",), {"no_half_vae": GONE, "mixed_precision": "fp16"})


def default_steps(_: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: default steps."""
    yield from _each(SD, (*PLAIN, "lion"), {"max_train_epochs": GONE})
    yield from _each(("toml", "sections"), PLAIN, {"max_train_epochs": GONE, "epoch": 10})
    yield from _each(("gui",), PLAIN, {"max_train_epochs": GONE}, {"max_train_epochs": "", "max_train_steps": ""})


def epochs_and_steps(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: epochs and steps."""
    steps = [rng.choice([40, 500, 1600, 2000, 6800, 10000]) for _ in range(3)]
    yield from _each(ALL, PLAIN, *({"max_train_steps": one} for one in steps))


def high_rate(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: high rate."""
    rates = [rng.choice([5e-3, 8e-3, 1e-2, 0.05, 0.1, 0.5, 1, 1.0, 3.0]) for _ in range(4)]
    yield from _each(ALL, ("character",), *({"learning_rate": rate} for rate in rates))
    yield from _each(ALL, ("style",), {"unet_lr": rng.choice([5e-3, 0.02, 1.0])})
    yield from _each(ALL, ("lion",), {"learning_rate": rng.choice([1e-3, 0.01, 1.0])})


def low_alpha(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: low alpha."""
    ranks = [rng.choice([32, 64, 96, 128, 192, 256]) for _ in range(3)]
    yield from _each(SD, ("character", "unet"), *({"network_alpha": GONE, "network_dim": rank} for rank in ranks))
    yield from _each(ALL, ("character",), *({"network_alpha": 1, "network_dim": rank * 2} for rank in ranks))


def cached_text_trained(_: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: cached text trained."""
    forms = (*SD, "easy-toml")
    yield from _each(forms, ("sdxl",), {"network_train_unet_only": GONE}, {"network_train_unet_only": False})
    yield from _each((*forms, "gui"), ("sdxl-text",), {"cache_text_encoder_outputs": True, "shuffle_caption": False})


def cached_text_shuffled(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: cached text shuffled."""
    rate = rng.choice([0.02, 0.05, 0.1, 0.2])
    changes = ({"shuffle_caption": True}, {"caption_dropout_rate": rate}, {"caption_tag_dropout_rate": rate})
    yield from _each((*SD, "gui"), ("sdxl",), *changes, {"token_warmup_step": rng.choice([0.1, 100])})


def cached_augmented(_: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: cached augmented."""
    yield from _each(ALL, PLAIN, {"color_aug": True}, {"random_crop": True}, {"color_aug": True, "random_crop": True})


def folders_hidden(_: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: folders hidden."""
    yield from _each(SD, PLAIN, {"dataset_config": "data.toml"}, {"dataset_config": "data.toml", "reg_data_dir": "reg"})
    for name in ("10_cat", "5_sks cat", "3_style", "20_x"):
        yield Plant("dataset", "one-folder", edit=_swap('pictures/cat"\n  num_repeats = 10', f'pictures/{name}"'))


def constant_with_warmup(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: constant with warmup."""
    steps = rng.choice([10, 50, 100, 500])
    yield from _each(ALL, ("character", "lion"), {"lr_scheduler": "constant", "lr_warmup_steps": steps})
    yield from _each(ALL, ("character",), {"lr_scheduler": "constant_with_warmup"})
    yield from _each(("gui",), PLAIN, {"lr_scheduler": "constant", "lr_warmup": rng.choice([5, 10, "10"])})
    yield from _each(SD, ("character",), {"lr_scheduler": GONE, "lr_warmup_steps": steps})


def adafactor(_: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: adafactor."""
    yield from _each(ALL, ("adafactor",), {"optimizer_args": GONE})
    yield from _each(ALL, ("adafactor",), {"optimizer_args": ["relative_step=True"], "lr_scheduler": "cosine"})
    yield from _each(SD, ("adafactor", "character"), {"lr_scheduler": "adafactor"})
    yield from _each(SD, ("style",), {"optimizer_type": "adafactor"}, {"optimizer_type": "Adafactor"})


def adaptive(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: adaptive."""
    low = rng.choice([1e-4, 5e-5, 3e-4, 1e-3])
    yield from _each(ALL, ("prodigy",), {"learning_rate": low}, {"unet_lr": 1.0, "text_encoder_lr": 0.5})
    yield from _each(ALL, ("character",), {"optimizer_type": rng.choice(["DAdaptAdam", "DAdaptLion", "Prodigy"])})
    yield from _each(SD, ("prodigy",), {"network_args": [f"loraplus_lr_ratio={rng.choice([4, 16])}"]})


def main_rate(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: main rate."""
    yield from _each(ALL, ("style",), {"learning_rate": rng.choice([2e-4, 5e-4, 3e-4])})
    yield from _each((*SD, "own-json", "own-yaml"), ("style",), {"text_encoder_lr": 0}, {"text_encoder_lr": 0.0})


def v_prediction(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: v prediction."""
    names = ["noobaiXL-vpred-1.0", "NoobAI-XL-Vpred-v0.75s", "animaginevpred_v1", "my_v-pred_mix", "wd_v_pred"]
    for name in rng.sample(names, 4):
        yield from _each(ALL, PLAIN, {"pretrained_model_name_or_path": f"models/{name}.safetensors"})
    flag = {"scale_v_pred_loss_like_noise_pred": True}
    yield from _each(SD, PLAIN, flag, {"zero_terminal_snr": True})


def arguments_as_text(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: arguments as text."""
    several = {"network_args": "conv_dim=8 conv_alpha=1"}
    one = {"optimizer_args": f"weight_decay={rng.choice([0.01, 0.04, 0.1])}"}
    yield from _each(
        ("toml", "sections"), ("character", "unet"), several, one, {"network_args": "conv_dim=4,conv_alpha=1"}
    )
    yield from _each(SD, ("character",), {"network_args": ["conv_dim", "8"]}, {"optimizer_args": ["weight_decay"]})
    yield from _each(SD, ("prodigy",), {"optimizer_args": ["decouple=true"]}, {"optimizer_args": ["a=1 b=2"]})


def blanks(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: blanks."""
    name = rng.choice(["my cat lora", "red hat v2", "sks dog 2"])
    for form in ("sh", "ps1", "bat"):
        for base in PLAIN:
            yield Plant(form, base, {"output_name": name}, edit=_swap(f'"{name}"', name))
            yield Plant(form, base, {"resolution": "768, 768"}, edit=_swap('"768, 768"', "768, 768"))
            yield Plant(
                form, base, {"train_data_dir": "my pictures/in"}, edit=_swap('"my pictures/in"', "my pictures/in")
            )


def other_encodings(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: other encodings."""
    texts = {"cp1251": "кот", "gbk": "猫咪", "cp1252": "café", "shift_jis": "猫の絵"}
    for encoding, text in texts.items():
        for form in ("toml", "gui", "sh", "own-json", "own-yaml"):
            change = {"output_name": text, "training_comment": text * rng.randint(1, 3)}
            yield Plant(form, rng.choice(PLAIN), change, encoding=encoding)


def old_config(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: old config."""
    old = ({"shuffle_caption": "", "keep_tokens": ""}, {"unet_lr": ""}, {"learning_rate": ""}, {"min_snr_gamma": ""})
    yield from _each(("own-json",), ("character",), *old)
    yield from _each(("own-json",), ("style",), {"text_encoder_lr": "", "unet_lr": ""}, target="easy")
    for key in rng.sample(["use_lion", "save_at_n_epochs", "lr_warmup", "num_cpu_threads_per_process", "locon"], 4):
        yield Plant("own-json", "character", {key: True if "lion" in key or "locon" in key else 2})


def bucket_limits(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: bucket limits."""
    low, high = rng.choice([384, 448, 320]), rng.choice([576, 640, 768])
    yield from _each(ALL, PLAIN, {"max_bucket_reso": low}, {"min_bucket_reso": high})
    yield from _each(ALL, PLAIN, {"resolution": "1024,1024", "max_bucket_reso": 960})


def flux_parts(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: flux parts."""
    parts = ["clip_l", "t5xxl", "ae"]
    for form in ("sh", "ps1", "bat"):
        for left_out in (*([one] for one in parts), rng.sample(parts, 2)):
            given = {part: f"{part}.safetensors" for part in parts if part not in left_out}
            yield Plant(
                form, "unet", {"script": "flux_train_network.py", "network_module": "networks.lora_flux", **given}
            )


def clip_skip(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: clip skip."""
    forms = ("sh", "ps1", "bat", "gui", "gui-quoted", "easy-toml")
    yield from _each(forms, ("sdxl", "sdxl-text"), {"clip_skip": 2}, {"clip_skip": rng.choice([2, 3])})
    yield from _each(SD, PLAIN, {"clip_skip": 2, "v2": True})


def full_half(_: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: full half."""
    yield from _each(SD, PLAIN, {"full_fp16": True, "mixed_precision": "bf16"}, {"full_bf16": True})
    yield from _each(
        SD, PLAIN, {"full_fp16": True, "mixed_precision": "no"}, {"full_fp16": True, "mixed_precision": GONE}
    )


def quoted_numbers(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: quoted numbers."""
    rate = rng.choice(["1e-4", "0.0001", "5e-5"])
    forms = ("toml", "sections", "own-json", "own-yaml", "own-toml")
    yield from _each(forms, ("character",), {"learning_rate": rate}, {"network_dim": "32"}, {"train_batch_size": "2"})
    yield from _each(forms, ("style",), {"unet_lr": rate}, {"text_encoder_lr": rate}, {"max_train_epochs": "10"})


def wrong_script(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: wrong script."""
    for script in ("train_db.py", "fine_tune.py", "sdxl_train.py"):
        yield from _each(("sh", "ps1", "bat"), PLAIN, {"script": script})
    gui = {"max_resolution": "512,512", "resolution": GONE}
    yield from _each(
        ("toml", "sh"), PLAIN, gui, {"net_dim": 16, "network_dim": GONE}, {"lr_warmup": 10}, {"LoRA_type": "LoCon"}
    )
    yield from _each(SD, PLAIN, {"network_args": [f"algo={rng.choice(['locon', 'loha', 'lokr'])}", "preset=full"]})


def backslashes(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: backslashes."""
    folders = [r"C:\Users\me\pictures", r"D:\lora\new", r"E:\train\data", r"C:\sd\xl\models", r"F:\ai\unet"]
    for form in ("toml", "sections", "own-toml", "easy-toml"):
        for folder in rng.sample(folders, 4):
            yield Plant(form, "character", edit=_swap('"out"', f'"{folder}"'))


def nothing_to_train(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: nothing to train."""
    both = {"network_train_unet_only": True, "network_train_text_encoder_only": True}
    yield from _each((*SD, "own-json", "own-yaml", "own-toml", "easy-toml"), ("character", "lion"), both)
    yield from _each(("gui",), PLAIN, {"num_processes": rng.choice([12, 16, 18, 24])})
    for base in ("one-folder", "sdxl", "validated"):
        yield Plant("dataset", base, edit=lambda text: re.sub(r"num_repeats = \d+", f"num_repeats = {_MANY}", text))


_MANY: Final = 250


def dataset_keys(rng: Random) -> Iterator[Plant]:
    """Yield plants of this mistake: dataset keys."""
    strange = ["network_dim = 16", "learning_rate = 1e-4", "resolutions = 512", "max_token_length = 225"]
    strange += ["prior_loss_weight = 1.0", 'mixed_precision = "fp16"', "repeats = 3", "train_batch_size = 2"]
    for line in strange:
        yield Plant(
            "dataset", rng.choice(["one-folder", "sdxl"]), edit=_swap("[[datasets]]\n", f"[[datasets]]\n{line}\n")
        )
    for line in ("is_reg = false", 'image_dir = "x"', "alpha_mask = true"):
        yield Plant("dataset", "sdxl", edit=_swap("[[datasets]]\n", f"[[datasets]]\n{line}\n"))
    for line in ("validation_split = 0.1", "resolution = 512", "batch_size = 2"):
        yield Plant("dataset", "one-folder", edit=_swap("num_repeats = 10\n", f"num_repeats = 10\n  {line}\n"))
    for line in ('resolution = "512,512"', 'resolution = "1024"'):
        yield Plant("dataset", "validated", edit=_swap("resolution = 512", line))
    yield Plant("dataset", "validated", edit=_swap("validation_split = 0.1", "validation_split = 1"))
    yield Plant("dataset", "one-folder", edit=_swap("num_repeats = 10", 'num_repeats = "10"'))


def _swap(old: str, new: str) -> Callable[[str], str]:
    """Return the edit that replaces a text, which must be there."""

    def edit(text: str) -> str:
        assert old in text, (old, text)
        return text.replace(old, new, 1)

    return edit


OF_TEXT: Final[dict[int, Callable[[Random], Iterator[Plant]]]] = {
    3: no_caption_extension, 4: half_vae, 5: default_steps, 6: epochs_and_steps, 7: high_rate, 10: low_alpha,
    14: cached_text_trained, 15: cached_text_shuffled, 16: cached_augmented, 17: dataset_keys, 18: folders_hidden,
    19: constant_with_warmup, 20: adafactor, 21: adaptive, 22: main_rate, 25: v_prediction, 27: arguments_as_text,
    28: blanks, 29: other_encodings, 30: old_config, 32: bucket_limits, 33: flux_parts, 34: clip_skip, 35: full_half,
    37: quoted_numbers, 38: wrong_script, 39: backslashes, 40: nothing_to_train,
}  # fmt: skip
"""What plants each mistake. A random generator chooses values, so that nobody looked at all of them."""
