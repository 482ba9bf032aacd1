"""LL70x: file formats, noise and loss, clip skip."""

from collections.abc import Iterator

from lora_lab.lint.finding import removed, set_to
from lora_lab.lint.rule import Hit, View, rule

_SAVE = "sd-scripts networks/lora.py save_weights"


@rule("LL701", "pickle-format", "warning", reads=("save_as",), source=_SAVE)
def pickle_format(view: View) -> Iterator[Hit]:
    """The LoRA is saved in a format that can run code.

    What it does
    Looks for `save_as` other than safetensors.

    Why is this bad
    ckpt, pt and bin are pickles: they carry no metadata, and whoever loads one must trust its maker.

    Bad
    ```json
    {"save_as": "ckpt"}
    ```

    Good
    ```json
    {"save_as": "safetensors"}
    ```
    """
    if view.config.save_as != "safetensors":
        message = f'save_as "{view.config.save_as}" is a pickle: no metadata, and it can run code when loaded'
        yield Hit(message, ("save_as",), "use safetensors", set_to("save_as", "safetensors"))


@rule(
    "LL702",
    "comment-lost",
    "warning",
    reads=("training_comment", "no_meta", "save_as"),
    source="sd-scripts train_network.py save_model",
)
def comment_lost(view: View) -> Iterator[Hit]:
    """The training comment will not be saved.

    What it does
    Looks for `training_comment` with `no_meta`, or with a `save_as` that has no metadata.

    Why is this bad
    The comment lives in the metadata and is lost with it.

    Bad
    ```json
    {"training_comment": "trigger: sks", "no_meta": true}
    ```

    Good
    ```json
    {"training_comment": "trigger: sks", "no_meta": false}
    ```
    """
    if not view.config.training_comment:
        return
    if view.config.no_meta:
        yield Hit(
            "training_comment is lost with no_meta",
            ("training_comment", "no_meta"),
            "set no_meta to false",
            set_to("no_meta", False),
        )
    elif view.config.save_as != "safetensors":
        message = f'training_comment is lost with save_as "{view.config.save_as}"'
        yield Hit(message, ("training_comment", "save_as"), "use safetensors", set_to("save_as", "safetensors"))


@rule("LL703", "bf16-file", "info", reads=("save_precision",), source="LoRA_Easy_Training_Scripts d14b240 (comment)")
def bf16_file(view: View) -> Iterator[Hit]:
    """The LoRA is saved as bf16.

    What it does
    Looks for `save_precision` bf16.

    Why is this bad
    bf16 keeps 8 bits of mantissa where fp16 keeps 11, and some older tools can't load it. Size and speed are the same.

    Bad
    ```json
    {"save_precision": "bf16"}
    ```

    Good
    ```json
    {"save_precision": "fp16"}
    ```
    """
    if view.config.save_precision == "bf16":
        message = "save_precision bf16 is coarser than fp16 at the same size, and older tools can't load it"
        yield Hit(message, ("save_precision",), "use fp16", set_to("save_precision", "fp16"))


@rule(
    "LL704",
    "clip-skip-too-deep",
    "error",
    reads=("clip_skip", "v2"),
    source="sd-scripts library/strategy_sd.py encode_tokens",
)
def clip_skip_too_deep(view: View) -> Iterator[Hit]:
    """`clip_skip` goes beyond the first layer of the text encoder.

    What it does
    Compares `clip_skip` with the 12 layers of SD 1.x.

    Why is this bad
    There is no such layer, so the captions would not be understood at all.

    Bad
    ```json
    {"clip_skip": 20}
    ```

    Good
    ```json
    {"clip_skip": 2}
    ```
    """
    if view.config.clip_skip > 12 and not view.config.v2:
        message = f"clip_skip {view.config.clip_skip}: the text encoder of SD 1.x has 12 layers"
        yield Hit(message, ("clip_skip",), "use 1, or 2 for anime models", set_to("clip_skip", 1))


@rule("LL705", "clip-skip-deep", "warning", reads=("clip_skip", "v2"), source="sd-scripts docs/train_network.md")
def clip_skip_deep(view: View) -> Iterator[Hit]:
    """`clip_skip` leaves out more layers than any model is used with.

    What it does
    Looks for `clip_skip` from 4 to 12.

    Why is this bad
    Models are made for 1 or 2. Deeper layers have not put the words together yet, and pictures must be drawn with the
    same setting.

    Bad
    ```json
    {"clip_skip": 6}
    ```

    Good
    ```json
    {"clip_skip": 1}
    ```
    """
    if 4 <= view.config.clip_skip <= 12 and not view.config.v2:
        message = f"clip_skip {view.config.clip_skip} stops halfway through the text encoder"
        yield Hit(
            message, ("clip_skip",), "use 1, or 2 for anime models that descend from NovelAI's", set_to("clip_skip", 1)
        )


@rule(
    "LL706",
    "clip-skip-with-v2",
    "warning",
    reads=("clip_skip", "v2"),
    source="sd-scripts library/train_util.py verify_training_args",
)
def clip_skip_with_v2(view: View) -> Iterator[Hit]:
    """A layer is skipped on SD 2.x, whose last layer is cut already.

    What it does
    Looks for `clip_skip` above 1 with `v2`.

    Why is this bad
    The text encoder of SD 2.x ends at its penultimate layer as it is; one more is left out than anyone draws with.

    Bad
    ```json
    {"v2": true, "clip_skip": 2}
    ```

    Good
    ```json
    {"v2": true, "clip_skip": 1}
    ```
    """
    if view.config.v2 and view.config.clip_skip > 1:
        message = f"clip_skip {view.config.clip_skip} with v2 leaves out a layer that SD 2.x needs"
        yield Hit(message, ("clip_skip", "v2"), "use 1", set_to("clip_skip", 1))


@rule(
    "LL707",
    "noise-offset-high",
    "warning",
    reads=("noise_offset",),
    source="crosslabs.org, Diffusion with Offset Noise",
)
def noise_offset_high(view: View) -> Iterator[Hit]:
    """The noise offset is strong.

    What it does
    Looks for `noise_offset` above 0.2; 0.05 to 0.1 is usual.

    Why is this bad
    Contrast and colours drift, also in pictures that have nothing to do with the LoRA's subject.

    Bad
    ```json
    {"noise_offset": 0.5}
    ```

    Good
    ```json
    {"noise_offset": 0.05}
    ```
    """
    if (view.config.noise_offset or 0.0) > 0.2:
        message = f"noise_offset {view.config.noise_offset:g} makes contrast and colours drift"
        yield Hit(message, ("noise_offset",), "use 0.05 to 0.1, or leave it out", removed("noise_offset", safe=False))


@rule("LL708", "min-snr-gamma-unusual", "warning", reads=("min_snr_gamma",), source="arXiv:2303.09556")
def min_snr_gamma_unusual(view: View) -> Iterator[Hit]:
    """The γ of min-SNR is where it does nothing useful.

    What it does
    Looks for `min_snr_gamma` below 1 or above 20; 0 is off.

    Why is this bad
    Below 1 nearly every timestep is weighted down, above 20 hardly one is. The paper uses 5.

    Bad
    ```json
    {"min_snr_gamma": 100}
    ```

    Good
    ```json
    {"min_snr_gamma": 5}
    ```
    """
    gamma = view.config.min_snr_gamma
    if gamma and not 1 <= gamma <= 20:
        what = "weights nearly every timestep down" if gamma < 1 else "changes hardly any timestep"
        yield Hit(f"min_snr_gamma {gamma:g} {what}", ("min_snr_gamma",), "use 5", set_to("min_snr_gamma", 5))
