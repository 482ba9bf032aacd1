"""Where drawn configs are trained: small bases, pictures with masks and captions of every kind, data set files."""

import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from PIL import Image

from drawing.values import STRATEGIES, Values
from lora_lab.quickstart.draw import draw, random_scene

CAPTIONS = (
    "lumi, red, blue sky ||| tree, house ||| end",
    "lumi, {big|small}, (red:1.2), cat",
    "a sentence without commas",
    "lumi, one, two;;;three, four",
    "",
    "lumi, [grey], \\(brackets\\)\nlumi on a second line",
)
BLOCKS = {"sd1": 12, "sdxl": 9}
"""Blocks on each side of the U-Net, as networks.lora counts them."""


@dataclass(frozen=True)
class Scene:
    """A folder with data, the bases by name (`sd1`, `sd1_v`, `sdxl`, `sdxl_v`), and LoRAs of theirs once trained."""

    folder: Path
    bases: Mapping[str, Path]
    loras: dict[str, Path] = field(default_factory=dict)


def lay_out(folder: Path, bases: Mapping[str, Path]) -> Scene:
    """Draw six pictures of three sizes, some of them partly transparent, with masks, and two for regularisation."""
    draws = random.Random(0)
    for place in ("pics/2_lumi", "reg/1_cat", "masks"):
        (folder / place).mkdir(parents=True)
    for number, caption in enumerate(CAPTIONS):
        size = ((64, 64), (128, 64), (70, 100))[number % 3]
        picture = draw(random_scene(draws, ("lumi",))).resize(size)
        mask = Image.linear_gradient("L").resize(size)
        if number % 2:
            picture.putalpha(mask)
        picture.save(folder / f"pics/2_lumi/{number}.png")
        mask.save(folder / f"masks/{number}.png")
        for ending in (".txt", ".caption"):
            (folder / f"pics/2_lumi/{number}{ending}").write_text(caption)
    for number in range(2):
        draw(random_scene(draws, ("lumi",))).resize((64, 64)).save(folder / f"reg/1_cat/{number}.png")
    return Scene(folder, bases)


@st.composite
def configs(drawn: st.DrawFn, scene: Scene, least: int = 0) -> Values:
    """Return the values of a config that could be trained: what excludes each other is not drawn together.

    At least so many keys are drawn beside those that every config has.
    """
    base = drawn(st.sampled_from(sorted(scene.bases)))
    keys = drawn(st.lists(st.sampled_from(sorted(STRATEGIES)), min_size=least, max_size=least + 16, unique=True))
    values: Values = {key: drawn(STRATEGIES[key]) for key in keys}
    values |= {"base_model": str(scene.bases[base]), "v_parameterization": base.endswith("_v"), "max_steps": 2}
    values |= {"output_folder": "out", "save_as": drawn(st.sampled_from(["safetensors"] * 3 + ["ckpt", "pt", "bin"]))}
    values.setdefault("train_resolution", 64)
    values.setdefault("min_bucket_resolution", 64)
    values.setdefault("max_bucket_resolution", 128)
    values.setdefault("mixed_precision", drawn(st.sampled_from(["no", "bf16"])))
    values.setdefault("net_dim", 4)
    _blocks(drawn, base, values)
    _data(drawn, scene, values)
    _weights(drawn, scene.loras.get(base), values)
    return _settled(values)


def _blocks(drawn: st.DrawFn, base: str, values: Values) -> None:
    count = 2 * BLOCKS[base.removesuffix("_v")] + 1
    for key in ("block_dims", "conv_block_dims"):
        if drawn(st.integers(0, 9)) == 0:
            values[key] = drawn(st.lists(st.integers(0, 4), min_size=count, max_size=count))
            values[key.replace("dims", "alphas")] = drawn(st.none() | st.just([1.0] * count))


def _data(drawn: st.DrawFn, scene: Scene, values: Values) -> None:
    values["reg_img_folder"] = drawn(st.sampled_from([None, None, "reg"]))
    values["mask_folder"] = drawn(st.sampled_from([None, None, "masks"])) if values.get("masked_loss") else None
    if drawn(st.integers(0, 3)):
        values["img_folder"] = "pics"
        return
    values["reg_img_folder"] = None
    text = "".join(_data_set(drawn, number) for number in range(drawn(st.integers(1, 3))))
    path = scene.folder / f"data-{zlib.crc32(text.encode())}.toml"
    path.write_text(f"[general]\nkeep_tokens = {drawn(st.integers(0, 2))}\n{text}")
    values["dataset_config"] = path.name


def _data_set(drawn: st.DrawFn, number: int) -> str:
    lines = ["[[datasets]]", f"resolution = {drawn(st.sampled_from([64, '[64, 128]', 128]))}"]
    lines += [f"batch_size = {drawn(st.integers(1, 3))}", "min_bucket_reso = 64", "max_bucket_reso = 128"]
    lines += [f"enable_bucket = {drawn(st.sampled_from(['true', 'false']))}"]
    lines += ["[[datasets.subsets]]", 'image_dir = "pics/2_lumi"', f"num_repeats = {drawn(st.integers(1, 3))}"]
    lines += [f"{key} = true" for key in ("shuffle_caption", "flip_aug", "enable_wildcard") if drawn(st.booleans())]
    if drawn(st.booleans()):
        lines += [f"caption_prefix = 'set {number},'", "caption_tag_dropout_rate = 0.2"]
    if drawn(st.booleans()):
        lines += ["[[datasets.subsets]]", 'image_dir = "reg/1_cat"', "is_reg = true", 'class_tokens = "cat"']
    return "\n".join(lines) + "\n"


def _weights(drawn: st.DrawFn, lora: Path | None, values: Values) -> None:
    """Go on from a LoRA, or merge it, now and then."""
    how = drawn(st.sampled_from(["", "", "", "resume", "merge"])) if lora else ""
    if how == "resume":
        values |= {"lora_model_for_resume": str(lora), "net_dim": 4, "alpha": 2.0, "use_dora": False}
        for key in ("network_type", "block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas"):
            values.pop(key, None)
    else:
        values.pop("dim_from_weights", None)
    if how == "merge":
        values["base_weights"] = str(lora)
    else:
        values.pop("base_weights_multiplier", None)


def _settled(values: Values) -> Values:
    """Take back what can't go together, as a person does who knows the tool."""
    velocity = values["v_parameterization"]
    if values.get("color_aug") or values.get("random_crop"):
        values["cache_latents"] = False
    if values.get("unet_only"):
        values.pop("text_only", None)
    for key in ("v_pred_like_loss",) if velocity else ("scale_v_pred_loss_like_noise_pred", "zero_terminal_snr"):
        values.pop(key, None)
    if values.get("masked_loss") and not values.get("mask_folder"):
        values["alpha_mask"] = True
    if values.get("keep_best"):
        values["validation_split"] = values.get("validation_split") or 0.3
    if values.get("adaptive_noise_scale") and not values.get("noise_offset"):
        values["noise_offset"] = 0.1
    values.pop("use_8bit_adam", None)
    if values.get("mixed_precision") == "fp16":
        values["mixed_precision"] = "bf16"  # which needs no GPU
    return {key: value for key, value in values.items() if value is not None}


def shown(values: Mapping[str, Any]) -> str:
    """Return a config as a line that can be pasted into a file."""
    import json  # noqa: PLC0415

    return json.dumps(dict(values), sort_keys=True)
