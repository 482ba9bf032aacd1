"""What is done with the pictures: size, buckets, caching, augmentation, regularisation."""

from typing import Annotated, ClassVar

from pydantic import Field

from lora_lab.config.about import About, Pitfall, Topic, same
from lora_lab.config.files import Text
from lora_lab.config.shapes import LARGEST_SIDE, SMALLEST_SIDE, Resolution, sides

Side = Annotated[int, Field(ge=SMALLEST_SIDE, le=LARGEST_SIDE)]


class Pictures(Topic):
    """The picture side of the data."""

    title: ClassVar[str] = "Pictures"

    train_resolution: Annotated[
        Resolution,
        About(
            row=32,
            unit="pixels",
            meaning=(
                "Size of training: with `buckets` the area (width × height) that each picture is scaled to, "
                "without them the exact size."
            ),
            typical="512 for SD 1.x, 512 or 768 for SD 2.x, 1024 for SDXL: the size that the base was trained at.",
            pitfalls=(
                Pitfall(
                    "`max_bucket_resolution` must not be below it, nor `min_bucket_resolution` above it.",
                    "bmaltais/kohya_ss #581",
                ),
                Pitfall(
                    "Memory and time grow with the area, those of attention faster still.",
                    "sd-scripts docs/train_network.md",
                ),
                Pitfall(
                    (
                        "A side that is no multiple of `bucket_reso_steps` makes the square bucket smaller: 500 "
                        "becomes 448."
                    ),
                    "sd-scripts library/model_util.py make_bucket_resolutions",
                ),
            ),
            type_text='whole number, "width,height" or [width, height]',
            names={"sd-scripts": "resolution", "kohya_gui": "max_resolution"},
        ),
    ] = 512
    buckets: Annotated[
        bool,
        About(
            row=52,
            meaning=(
                "Sort the pictures into groups of similar aspect ratio, each trained at its own width and height "
                "of about the same area."
            ),
            typical="true: pictures keep their shape.",
            pitfalls=(
                Pitfall(
                    "Without them every picture is cut to the shape of `train_resolution`.",
                    "sd-scripts library/train_util.py",
                ),
            ),
            misread="Often explained as a list of token lengths; it is a switch for groups of picture shapes.",
            names=same("enable_bucket"),
        ),
    ] = True
    min_bucket_resolution: Annotated[
        Side,
        About(
            row=33,
            unit="pixels",
            meaning="Shortest side that a bucket may have; it limits how long and thin the buckets get.",
            typical="256–512, about half of `train_resolution`.",
            pitfalls=(
                Pitfall(
                    "It is rounded down to a multiple of `bucket_reso_steps`, and must not exceed `train_resolution`.",
                    "sd-scripts library/train_util.py adjust_min_max_bucket_reso_by_steps",
                ),
                Pitfall("`bucket_no_upscale` does not use it.", "sd-scripts library/train_util.py"),
                Pitfall(
                    "sd-scripts before December 2023 let the other side go below it, so old runs had more buckets.",
                    "sd-scripts f8360a48",
                ),
            ),
            misread="Often explained as making training faster; it limits the aspect ratio, not the cost.",
            names=same("min_bucket_reso"),
        ),
    ] = 256
    max_bucket_resolution: Annotated[
        Side,
        About(
            row=34,
            unit="pixels",
            meaning="Longest side that a bucket may have.",
            typical="1.5 to 2 times `train_resolution`: 1024 for 512, 2048 for 1024.",
            pitfalls=(
                Pitfall(
                    "It must not be below `train_resolution`: the 960 of old files stops a training at 1024.",
                    "bmaltais/kohya_ss #581",
                ),
                Pitfall(
                    "Pictures longer than any bucket are cropped: 3000×500 goes into 768×320.",
                    "sd-scripts library/train_util.py select_bucket",
                ),
            ),
            misread="Often explained as the size that larger pictures are scaled down to; scaling follows the area.",
            names=same("max_bucket_reso"),
        ),
    ] = 1024
    bucket_reso_steps: Annotated[
        Annotated[int, Field(ge=8, le=1024, multiple_of=8)],
        About(
            row=62,
            unit="pixels",
            meaning="Grid of the bucket sizes: every side is a multiple of it.",
            typical="64; 32 also suits SDXL.",
            pitfalls=(
                Pitfall(
                    "Small steps make many buckets with few pictures each, so smaller batches.",
                    "sd-scripts library/model_util.py make_bucket_resolutions",
                ),
                Pitfall(
                    "sd-scripts refuses what is no multiple of 64 for SD 1.x and 2.x, of 32 for SDXL.",
                    "kohya-ss/sd-scripts #1763",
                ),
            ),
            misread="Often explained as the resolution doubling step by step; it is the size of a grid.",
            names=same("bucket_reso_steps"),
        ),
    ] = 64
    bucket_no_upscale: Annotated[
        bool,
        About(
            row=63,
            meaning=(
                "Never enlarge a picture: it keeps its size, cropped to the bucket grid, and is only shrunk when "
                "its area is too large."
            ),
            typical="true where many pictures are smaller than `train_resolution`.",
            pitfalls=(
                Pitfall(
                    "Almost every size gets a bucket of its own: smaller batches, more steps.",
                    "sd-scripts library/train_util.py select_bucket",
                ),
                Pitfall(
                    "A picture with a side below `bucket_reso_steps` has no bucket.",
                    "sd-scripts library/train_util.py select_bucket",
                ),
            ),
            names=same("bucket_no_upscale"),
        ),
    ] = False
    cache_latents: Annotated[
        bool,
        About(
            row=55,
            meaning=(
                "Encode every picture once and train on the stored latents instead of running the VAE in every step."
            ),
            typical="true: the VAE then runs once per picture.",
            pitfalls=(
                Pitfall(
                    "`color_aug` and `random_crop` change the pixels each time and can't work with it.",
                    "sd-scripts train_network.py",
                ),
                Pitfall(
                    "A picture's latents are drawn from the VAE's distribution once, not anew in each step.",
                    "sd-scripts library/train_util.py cache_batch_latents",
                ),
            ),
            names=same("cache_latents"),
        ),
    ] = True
    cache_latents_to_disk: Annotated[
        bool,
        About(
            row=79,
            meaning=(
                "Keep the cached latents on disk for the next run; the entries are named after their content and "
                "can't be outdated."
            ),
            typical="true for repeated runs on the same pictures.",
            pitfalls=(
                Pitfall(
                    "sd-scripts writes .npz files beside the pictures and reuses them after sizes or pictures changed.",
                    "kohya-ss/sd-scripts #2269; bmaltais/kohya_ss #1629",
                ),
            ),
            since="2023-04",
            names=same("cache_latents_to_disk"),
        ),
    ] = False
    color_aug: Annotated[
        bool,
        About(
            row=56,
            meaning="Now and then shift a picture's hue or brightness a little.",
            typical="false: exact colours (eyes, hair, a palette) are usually wanted.",
            pitfalls=(
                Pitfall("It needs `cache_latents` off, so the VAE runs in every step.", "sd-scripts train_network.py"),
                Pitfall(
                    "It blurs what colours the LoRA learns: eyes, hair, clothes.",
                    "sd-scripts library/train_util.py AugHelper",
                ),
            ),
            names=same("color_aug"),
        ),
    ] = False
    flip_aug: Annotated[
        bool,
        About(
            row=57,
            meaning=(
                "Mirror a picture left to right with probability one half; with cached latents both versions are "
                "cached."
            ),
            typical="true only for symmetric subjects.",
            pitfalls=(
                Pitfall(
                    (
                        "It unlearns what is left and right: partings, scars, lettering. Captions that say left "
                        "or right become wrong."
                    ),
                    "sd-scripts library/train_util.py (mirrors the picture, not the caption)",
                ),
            ),
            names=same("flip_aug"),
        ),
    ] = False
    random_crop: Annotated[
        bool,
        About(
            row=58,
            meaning="Crop at a random place instead of the middle where a picture does not fit its size exactly.",
            typical="false.",
            pitfalls=(
                Pitfall(
                    "It needs `cache_latents` off; LoRA_Easy_Training_Scripts dropped it silently otherwise.",
                    "LoRA_Easy_Training_Scripts d14b240; sd-scripts train_network.py",
                ),
                Pitfall(
                    (
                        "With buckets only what overshoots the bucket is cropped elsewhere; sd-scripts without "
                        "buckets crops the picture unresized."
                    ),
                    "sd-scripts library/train_util.py trim_and_resize_if_required",
                ),
            ),
            names=same("random_crop"),
        ),
    ] = False
    reg_img_folder: Annotated[
        Text | None,
        About(
            row=41,
            meaning=(
                "Parent folder of regularisation pictures in `N_name` folders: pictures of the class, which the "
                "model is to keep drawing as before."
            ),
            typical="null: most LoRAs are trained without.",
            pitfalls=(
                Pitfall(
                    "As many of them as training pictures are shown: the steps of an epoch double.",
                    "sd-scripts library/train_util.py DreamBoothDataset",
                ),
                Pitfall(
                    "sd-scripts trains without them, silently, when the folder is missing.",
                    "sd-scripts library/config_util.py",
                ),
                Pitfall(
                    "More of them than training pictures are not used; fewer are repeated.",
                    "sd-scripts library/train_util.py DreamBoothDataset",
                ),
            ),
            misread=(
                "Often explained as a picture folder that is needed unless `text_only`; it holds extra pictures "
                "that preserve the class."
            ),
            path_kind="folder",
            names=same("reg_data_dir"),
        ),
    ] = None
    prior_loss_weight: Annotated[
        Annotated[float, Field(ge=0.0)],
        About(
            row=44,
            meaning="Factor on the loss of regularisation pictures.",
            typical="0.1–1; keep 1.",
            pitfalls=(
                Pitfall("Without `reg_img_folder` it has no effect.", "sd-scripts library/train_util.py"),
                Pitfall("0 spends half of the steps on nothing.", "sd-scripts library/train_util.py"),
            ),
            misread="Often explained as a weight on all of the loss; training pictures always count 1.",
            names=same("prior_loss_weight"),
        ),
    ] = 1.0

    @property
    def resolution(self) -> tuple[int, int]:
        """Width and height in pixels that `train_resolution` stands for."""
        return sides(self.train_resolution)
