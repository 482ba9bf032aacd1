"""LL65x: buckets, augmentation and caches as sd-scripts has them."""

from collections.abc import Iterator
from functools import partial

from lora_lab.lint.rule import THEIRS, Hit, View, rule

_theirs = partial(rule, reads=(), sees="theirs", targets=THEIRS)
_TU = "sd-scripts train_util.py"


@_theirs("LL650", "bucket-steps-refused", "error", source="sd-scripts train_network.py assert_extra_args; #1763, #2824")
def bucket_steps_refused(view: View) -> Iterator[Hit]:
    """The grid of the buckets is no multiple of 64, or of 32 with SDXL.

    What it does
    Divides `bucket_reso_steps`, where buckets are on.

    Why is this bad
    sd-scripts stops: `bucket_reso_steps must be a multiple of 64`.

    Bad
    ```sh
    accelerate launch train_network.py --pretrained_model_name_or_path=base --enable_bucket --bucket_reso_steps=32
    ```

    Good
    ```sh
    accelerate launch train_network.py --pretrained_model_name_or_path=base --enable_bucket --bucket_reso_steps=64
    ```
    """
    theirs = view.theirs
    steps = theirs.number("bucket_reso_steps")
    wanted = 32 if theirs.family != "sd" else 64
    if not steps or theirs.family == "other" or theirs.part == "dataset":
        return
    off = theirs.has("enable_bucket") and not theirs.on("enable_bucket")
    if steps % wanted and not off and not (theirs.easy and theirs.dialect == "own"):
        message = f"{theirs.key('bucket_reso_steps')} {steps:g} is no multiple of {wanted}: sd-scripts stops"
        yield theirs.hit(message, ("bucket_reso_steps",), f"write {wanted}")


@_theirs("LL651", "no-buckets-no-cache", "warning", source=f"{_TU} __getitem__")
def no_buckets_no_cache(view: View) -> Iterator[Hit]:
    """Buckets are off and latents are not cached, so pictures must have exactly the resolution.

    What it does
    Looks for a run without `enable_bucket` and without `cache_latents`.

    Why is this bad
    A picture of another size stops the run: `image too large / too small`.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    train_data_dir = "a/pictures"
    learning_rate = 1e-4
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    train_data_dir = "a/pictures"
    learning_rate = 1e-4
    enable_bucket = true
    ```
    """
    theirs = view.theirs
    cached = theirs.on("cache_latents") or theirs.on("cache_latents_to_disk") or theirs.on("random_crop")
    bucketed = theirs.on("enable_bucket") or theirs.varies("enable_bucket") or theirs.has("in_json")
    if theirs.whole and theirs.dialect in ("sd-scripts", "sd-scripts-command") and not cached and not bucketed:
        message = "without enable_bucket and cache_latents each picture must have exactly the size of resolution"
        yield theirs.hit(message, ("resolution",), "set enable_bucket")


@_theirs("LL652", "face-crop-ignored", "warning", source=_TU)
def face_crop_ignored(view: View) -> Iterator[Hit]:
    """`face_crop_aug_range` is set with buckets or cached latents.

    What it does
    Looks for these together.

    Why is this bad
    The crop is ignored in silence.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    face_crop_aug_range = "2.0,4.0"
    enable_bucket = true
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    face_crop_aug_range = "2.0,4.0"
    ```
    """
    theirs = view.theirs
    because = next((name for name in ("enable_bucket", "cache_latents") if theirs.on(name)), "")
    if theirs.on("face_crop_aug_range") and because:
        message = f"face_crop_aug_range is ignored with {theirs.key(because)}"
        yield theirs.hit(message, ("face_crop_aug_range", because), "take one of the two out")


@_theirs("LL653", "several-attention-kernels", "info", source=f"{_TU} replace_unet_modules")
def several_attention_kernels(view: View) -> Iterator[Hit]:
    """More than one way to compute attention is asked for.

    What it does
    Looks for two of `mem_eff_attn`, `xformers` and `sdpa`.

    Why is this bad
    The first of these counts; `mem_eff_attn` is the slowest.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    xformers = true
    mem_eff_attn = true
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    xformers = true
    ```
    """
    theirs = view.theirs
    named = [name for name in ("mem_eff_attn", "xformers", "sdpa") if theirs.get(name) is True]
    if len(named) > 1 and not theirs.gui:
        message = f"{' and '.join(named)} are set: {named[0]} counts"
        yield theirs.hit(message, tuple(named), f"keep {named[-1] if named[0] == 'mem_eff_attn' else named[0]}")


@_theirs("LL654", "no-vae-batch", "error", source="sd-scripts train_network.py")
def no_vae_batch(view: View) -> Iterator[Hit]:
    """`vae_batch_size` is 0.

    What it does
    Looks for it.

    Why is this bad
    sd-scripts stops when it caches latents.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    vae_batch_size = 0
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    vae_batch_size = 1
    ```
    """
    if view.theirs.number("vae_batch_size") == 0 and view.theirs.dialect != "easy-toml":
        yield view.theirs.hit("vae_batch_size 0: sd-scripts stops", ("vae_batch_size",), "write 1")


@_theirs("LL655", "masks-from-nowhere", "warning", source="sd-scripts custom_train_functions.py apply_masked_loss")
def masks_from_nowhere(view: View) -> Iterator[Hit]:
    """`masked_loss` is on, and there are no masks.

    What it does
    Looks for it without `dataset_config` (where folders of masks are named) and `alpha_mask`.

    Why is this bad
    The loss is the same as without, and nothing says so.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    train_data_dir = "a/pictures"
    masked_loss = true
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    train_data_dir = "a/pictures"
    learning_rate = 1e-4
    masked_loss = true
    alpha_mask = true
    ```
    """
    theirs = view.theirs
    if (
        theirs.get("masked_loss") is True
        and not theirs.part
        and not any(
            theirs.on(name) or theirs.varies(name) for name in ("dataset_config", "alpha_mask", "conditioning_data_dir")
        )
    ):
        yield theirs.hit(
            "masked_loss without masks changes nothing",
            ("masked_loss",),
            "set alpha_mask, or name masks in a dataset_config",
        )
