"""The table: each of the 65 parameters of the seed list with the test that shows what it does."""

import ast
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from lora_lab.config import PARAMETERS, TrainConfig
from lora_lab.quickstart.draw import draw, random_scene

TESTS = Path(__file__).parents[1]
HERE = "train/test_every_parameter.py"
EFFECTS, RUN, SAVE = "train/test_effects.py", "train/test_run.py", "train/test_save.py"
DATA = "train/data/test_"

SHOWN_BY: dict[str, str] = {
    "base_model": "train/base_files/test_single_file.py::test_same_as_the_folder",
    "img_folder": f"{DATA}folder.py::test_subsets_pictures_and_captions",
    "output_folder": "cli/test_train.py::test_output_that_cannot_be_made",
    "change_output_name": f"{SAVE}::test_every_n_epochs",
    "save_json_folder": "cli/test_train.py::test_save_json_only",
    "load_json_path": "cli/test_train.py::test_load_json_path",
    "json_load_skip_list": "cli/test_train.py::test_load_json_path",
    "multi_run_folder": "cli/test_train.py::test_multi_run_folder",
    "log_dir": "cli/test_train.py::test_log_dir",
    "save_json_only": "cli/test_train.py::test_save_json_only",
    "caption_dropout_rate": f"{DATA}caption.py::test_caption_dropout_rate",
    "caption_dropout_every_n_epochs": f"{DATA}caption.py::test_every_n_epochs_counts_from_1",
    "caption_tag_dropout_rate": f"{DATA}caption.py::test_tag_dropout_drops_each_loose_tag_at_its_rate",
    "net_dim": f"{HERE}::test_net_dim",
    "alpha": f"{EFFECTS}::test_alpha_and_net_dim_scale_the_update",
    "scheduler": "train/test_schedule.py::test_curves",
    "cosine_restarts": "train/test_schedule.py::test_curves",
    "scheduler_power": "train/test_schedule.py::test_curves",
    "warmup_lr_ratio": f"{HERE}::test_warm_up",
    "learning_rate": f"{HERE}::test_learning_rate",
    "text_encoder_lr": f"{EFFECTS}::test_learning_rates_of_the_parts",
    "unet_lr": f"{HERE}::test_learning_rate",
    "num_workers": f"{RUN}::test_workers_change_nothing",
    "persistent_workers": f"{RUN}::test_workers_change_nothing",
    "batch_size": f"{HERE}::test_length",
    "num_epochs": f"{HERE}::test_length",
    "save_every_n_epochs": f"{SAVE}::test_every_n_epochs",
    "shuffle_captions": f"{DATA}caption.py::test_shuffling_keeps_the_first_tags_and_loses_none",
    "keep_tokens": f"{DATA}caption.py::test_shuffling_keeps_the_first_tags_and_loses_none",
    "max_steps": f"{HERE}::test_length",
    "tag_occurrence_txt_file": f"{SAVE}::test_a_run_writes_the_report",
    "sort_tag_occurrence_alphabetically": f"{SAVE}::test_tag_report",
    "train_resolution": f"{HERE}::test_resolution_and_buckets",
    "min_bucket_resolution": f"{HERE}::test_resolution_and_buckets",
    "max_bucket_resolution": f"{HERE}::test_resolution_and_buckets",
    "lora_model_for_resume": "train/test_resume.py::test_training_goes_on_from_a_lora",
    "save_state": "train/test_resume.py::test_resumed_is_uninterrupted",
    "load_previous_save_state": "train/test_resume.py::test_resumed_is_uninterrupted",
    "training_comment": f"{HERE}::test_training_comment",
    "unet_only": f"{EFFECTS}::test_unet_only_and_text_only",
    "text_only": f"{EFFECTS}::test_unet_only_and_text_only",
    "reg_img_folder": f"{EFFECTS}::test_prior_loss_weight",
    "clip_skip": f"{EFFECTS}::test_clip_skip_reaches_the_unet",
    "test_seed": f"{RUN}::test_same_config_same_lora_other_seed_other_lora",
    "prior_loss_weight": f"{EFFECTS}::test_prior_loss_weight",
    "gradient_checkpointing": f"{EFFECTS}::test_gradient_checkpointing",
    "gradient_acc_steps": f"{EFFECTS}::test_gradient_acc_steps",
    "mixed_precision": f"{RUN}::test_bf16_trains_float_weights",
    "save_precision": f"{EFFECTS}::test_save_precision",
    "save_as": "train/test_lora_file.py::test_values_come_back",
    "caption_extension": f"{HERE}::test_caption_extension",
    "max_clip_token_length": f"{EFFECTS}::test_max_clip_token_length_reaches_the_unet",
    "buckets": f"{HERE}::test_resolution_and_buckets",
    "xformers": f"{EFFECTS}::test_xformers_that_does_not_run",
    "use_8bit_adam": "train/test_optimizer.py::test_8bit_adam",
    "cache_latents": f"{HERE}::test_cache_latents",
    "color_aug": f"{EFFECTS}::test_pixel_augmentation",
    "flip_aug": f"{EFFECTS}::test_flip_aug",
    "random_crop": f"{EFFECTS}::test_pixel_augmentation",
    "vae": f"{EFFECTS}::test_vae",
    "no_meta": "train/test_metadata.py::test_no_meta_leaves_the_minimum",
    "bucket_reso_steps": f"{HERE}::test_resolution_and_buckets",
    "bucket_no_upscale": f"{HERE}::test_resolution_and_buckets",
    "v2": "train/families/test_sd2.py::test_training_on_sd2",
    "v_parameterization": "train/test_step_losses.py::test_v_parameterization",
}

Make = Callable[..., TrainConfig]


def test_every_row_is_there() -> None:
    """The table has each of the 65 parameters."""
    assert list(PARAMETERS)[:65] == sorted(SHOWN_BY, key=list(PARAMETERS).index)


@pytest.mark.parametrize("place", sorted(set(SHOWN_BY.values())))
def test_every_test_is_there(place: str) -> None:
    """Each row names a test that exists and says what it shows."""
    file, _, name = place.partition("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    assert len(found) == 1
    assert ast.get_docstring(found[0])


def test_length(train: Callable[..., Any]) -> None:
    """Sixteen uses in batches of 8 are two steps an epoch; num_epochs counts unless max_steps is given."""
    assert list(train(batch_size=8, max_steps=None, num_epochs=2).curve("loss")) == [1, 2, 3, 4]
    assert list(train(batch_size=8, max_steps=3, num_epochs=2).curve("loss")) == [1, 2, 3]
    assert list(train(batch_size=8, max_steps=None, num_epochs=2, gradient_acc_steps=2).curve("loss")) == [1, 2]


def test_warm_up(train: Callable[..., Any]) -> None:
    """A ratio of 0.5 climbs over half of the steps from 0."""
    rates = train(max_steps=6, scheduler="constant_with_warmup", warmup_lr_ratio=0.5).curve("lr/unet")
    assert list(rates.values()) == pytest.approx([0, 1e-3 / 3, 2e-3 / 3, 1e-3, 1e-3, 1e-3])


def test_learning_rate(train: Callable[..., Any]) -> None:
    """Adam's first step has the size of the learning rate, in the U-Net that of unet_lr."""
    state = train(max_steps=1, learning_rate=1e-3, unet_lr=3e-3, scheduler="constant").tensors
    for part, rate in (("lora_te_", 1e-3), ("lora_unet_", 3e-3)):
        largest = max(v.abs().max() for k, v in state.items() if k.startswith(part) and k.endswith("up.weight"))
        assert largest == pytest.approx(rate, rel=0.01)


def test_net_dim(train: Callable[..., Any]) -> None:
    """Every pair of matrices has the rank."""
    state = train(max_steps=1, net_dim=7).tensors
    assert {value.shape[0] for key, value in state.items() if key.endswith("down.weight")} == {7}
    assert {value.shape[1] for key, value in state.items() if key.endswith("up.weight")} == {7}


def test_training_comment(train: Callable[..., Any]) -> None:
    """The comment is in the file."""
    run = train(max_steps=1, training_comment="für Lumi")
    with safe_open(run.result.lora, "pt") as file:
        assert file.metadata()["ss_training_comment"] == "für Lumi"


def test_caption_extension(make_config: Make, open_pack: Callable[..., Any], tmp_path: Path) -> None:
    """Captions come from files of this ending, and from the folder's name where there are none."""
    folder = tmp_path / "pictures" / "1_thing"
    folder.mkdir(parents=True)
    draw(random_scene(random.Random(0), ("lumi",))).save(folder / "a.png")
    (folder / "a.caption").write_text("from a caption file")
    values = {"img_folder": str(folder.parent), "batch_size": 1}
    found = {
        ending: open_pack(make_config(caption_extension=ending, **values)).data.training[0].captions
        for ending in (".caption", ".txt")
    }
    assert found == {".caption": [["from a caption file"]], ".txt": [["thing"]]}


def test_cache_latents(make_config: Make, open_pack: Callable[..., Any]) -> None:
    """With the cache a batch carries latents, the same in each epoch; without, the pixels."""
    cached = open_pack(make_config()).data.training
    assert cached[0].pixels is None
    assert cached[0].latents.shape == (2, 4, 8, 8)
    fresh = open_pack(make_config(cache_latents=False)).data.training
    assert fresh[0].latents is None
    assert fresh[0].pixels.shape == (2, 3, 64, 64)


def buckets_of(run: Any) -> dict[tuple[int, int], int]:
    """How many uses the file says each bucket has."""
    with safe_open(run.result.lora, "pt") as file:
        info = json.loads(file.metadata()["ss_bucket_info"])
    return {tuple(bucket["resolution"]): bucket["count"] for bucket in info["buckets"].values()}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {(128, 128): 1, (192, 64): 1}),
        ({"train_resolution": 64}, {(64, 64): 2}),
        ({"max_bucket_resolution": 128}, {(128, 128): 1, (128, 64): 1}),
        ({"min_bucket_resolution": 128}, {(128, 128): 2}),
        ({"bucket_reso_steps": 32}, {(128, 128): 1, (224, 64): 1}),
        ({"buckets": False}, {(128, 128): 2}),
        ({"bucket_no_upscale": True}, {(64, 64): 1, (192, 64): 1}),
    ],
    ids=str,
)
def test_resolution_and_buckets(
    values: dict[str, object],
    expected: dict[tuple[int, int], int],
    train: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """A picture of 64 × 64 and one of 300 × 90 lie where resolution and bucket settings put them."""
    folder = tmp_path / "pictures" / "1_thing"
    folder.mkdir(parents=True)
    for name, size in (("square", (64, 64)), ("wide", (300, 90))):
        draw(random_scene(random.Random(0), ("lumi",))).resize(size).save(folder / f"{name}.png")
    common: dict[str, object] = {
        "img_folder": str(folder.parent),
        "train_resolution": 128,
        "min_bucket_resolution": 64,
        "max_bucket_resolution": 256,
        "max_steps": 1,
    }
    assert buckets_of(train(**{**common, **values})) == expected
