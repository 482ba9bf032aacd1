"""Configs judged together are judged as each would be alone."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lora_lab.config import PARAMETERS
from lora_lab.lint import Disk, lint_values
from lora_lab.lint.points import lint_points

VALUES: Final[Mapping[str, tuple[object, ...]]] = {
    "net_dim": (4, 128, 100000, "8", 0),
    "alpha": (None, 0, 1, 256.0, 16),
    "scheduler": ("constant", "cosine", "polynomial", "cosine_with_restarts", "step", "no"),
    "optimizer_type": ("AdamW", "Prodigy", "AdaFactor", "Lion", "adamw"),
    "optimizer_args": (None, ["weight_decay=0.1"], {"lr": 1}, "x"),
    "learning_rate": (1e-4, 1.0, 0, 1e-9, True),
    "unet_lr": (None, 1e-4, 2.0),
    "text_encoder_lr": (None, 5e-5, 1e-3),
    "unet_only": (True, False, None),
    "clip_skip": (1, 2, 12, 99, True, 0),
    "max_steps": (None, 1, 100, 10**6),
    "num_epochs": (1, 10),
    "batch_size": (1, 1.0, True, 64),
    "warmup_lr_ratio": (0, 0.1, 5),
    "lr_warmup_steps": (None, 10, 10**6),
    "keep_tokens": (0, 1, 49408),
    "train_resolution": (512, "512,768", 64, [64, 64]),
    "max_bucket_resolution": (1024, 64),
    "buckets": (True, False, 3),
    "caption_extension": (".txt", ".caption", "txt"),
    "base_model": ("model.safetensors", "", None, "gone"),
    "img_folder": ("pictures", "gone", None),
    "save_every_n_epochs": (None, 1, 50),
    "cache_latents": (True, False),
    "color_aug": (True, None),
    "net_dimm": (1, None),
    "lora_lab:ignore": ({"LL3": "known"}, {"LL999": "none"}),
    "load_json_path": (None, "gone.json"),
}
BASE: Final = {"base_model": "model.safetensors", "img_folder": "pictures", "output_folder": "out"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures and captions."""
    folder = tmp_path_factory.mktemp("points")
    inside = folder / "pictures" / "2_cat"
    inside.mkdir(parents=True)
    for number in range(3):
        (inside / f"{number}.png").touch()
        (inside / f"{number}.txt").write_text("cat, (sits:1.2), mat")
    return folder


def alone(shared: Mapping[str, object], points: list[dict[str, object]], folder: Path, disk: Disk | None) -> None:
    """The points' findings are those of each judged alone."""
    together = lint_points(shared, points, folder, disk)
    assert len(together) == len(points)
    for point, found in zip(points, together, strict=True):
        assert found == lint_values({**shared, **point}, folder, disk).findings


AXES = st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3, unique=True)
SHARED = st.dictionaries(st.sampled_from(sorted(VALUES)), st.integers(0, 9), max_size=4)


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(axes=AXES, shared=SHARED, looks=st.booleans())
def test_together_as_alone(folder: Path, axes: list[str], shared: dict[str, int], looks: bool) -> None:
    """Whatever varies, sound or wrong, with the disk or without: each point has its own findings, in their order."""
    base = {**BASE, **{key: VALUES[key][at % len(VALUES[key])] for key, at in shared.items()}}
    points = [dict(zip(axes, values, strict=True)) for values in product(*(VALUES[axis] for axis in axes))]
    alone(base, points[:40], folder, Disk(folder) if looks else None)


def test_points_of_different_keys(folder: Path) -> None:
    """Points that do not vary the same keys are judged by their own."""
    points: list[dict[str, object]] = [{"net_dim": 4 + at, "clip_skip": 99} for at in range(5)]
    points += [{"alpha": 256.0}, {}, {"net_dim": 8}]
    alone({**BASE, "clip_skip": 2}, points, folder, None)


def test_one_like_another_is_one_object(folder: Path) -> None:
    """Points of which the same is said share it, so that a hundred thousand cost no memory."""
    points = [{"test_seed": seed} for seed in range(50)]
    assert len({id(found) for found in lint_points(BASE, points, folder, None)}) == 1


def test_every_value_is_one_of_a_parameter() -> None:
    """The table of values speaks of parameters, but for the few that are none on purpose."""
    assert VALUES.keys() - PARAMETERS.keys() == {"net_dimm", "lora_lab:ignore"}


def test_nothing_to_judge(folder: Path) -> None:
    """No points, no findings."""
    assert lint_points(BASE, [], folder, None) == []
