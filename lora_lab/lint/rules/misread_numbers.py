"""LL8xx: numbers that count something else.

These values fit a widely copied explanation of a key instead of what the key is. Each is answered with what the key is
and what was probably wanted, in place of the plain finding about its type.
"""

from collections.abc import Iterator

from lora_lab.lint.finding import Severity, set_to
from lora_lab.lint.rule import OURS, Hit, View, rule


@rule(
    "LL805",
    "keep-tokens-as-vocabulary",
    "warning",
    reads=("keep_tokens",),
    source="sd-scripts library/train_util.py process_caption",
    sees="raw",
)
def keep_tokens_as_vocabulary(view: View) -> Iterator[Hit]:
    """`keep_tokens` is as large as a vocabulary.

    What it does
    Looks for a number of 1000 and more.

    Why is this bad
    It does not cut a vocabulary: it is how many tags at the start of each caption are neither shuffled nor dropped. So
    large a number holds every tag in place.

    Bad
    ```json
    {"keep_tokens": 49408}
    ```

    Good
    ```json
    {"keep_tokens": 1, "shuffle_captions": true}
    ```
    """
    value = view.values.get("keep_tokens")
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1000:
        message = f"keep_tokens {value} is no size of a vocabulary: it is the number of leading tags that stay in place"
        yield Hit(
            message, ("keep_tokens",), "write 0, or 1 to keep the trigger word in front", set_to("keep_tokens", 0)
        )


@rule(
    "LL811",
    "save-precision-as-bits",
    "error",
    reads=("save_precision",),
    source="sd-scripts library/train_util.py",
    sees="raw",
)
def save_precision_as_bits(view: View) -> Iterator[Hit]:
    """`save_precision` is given as a number of bits.

    What it does
    Looks for 16 or 32 where a word stands.

    Why is this bad
    16 bits can be fp16 or bf16, which are not the same.

    Bad
    ```json
    {"save_precision": 16}
    ```

    Good
    ```json
    {"save_precision": "fp16"}
    ```
    """
    value = view.values.get("save_precision")
    if isinstance(value, bool) or value not in (16, 32, "16", "32"):
        return
    word = "fp16" if str(value).startswith("16") else "float"
    yield Hit(
        "save_precision is a word, not a number of bits",
        ("save_precision",),
        f'write "{word}"',
        set_to("save_precision", word, safe=True),
    )


@rule(
    "LL812",
    "bucket-steps-as-factor",
    "error",
    reads=("bucket_reso_steps",),
    source="sd-scripts library/model_util.py make_bucket_resolutions",
    sees="raw",
    targets=OURS,
)
def bucket_steps_as_factor(view: View) -> Iterator[Hit]:
    """`bucket_reso_steps` is given as a number of steps.

    What it does
    Looks for a number below 8.

    Why is this bad
    The resolution does not double that many times: it is the grid of the bucket sizes, in pixels.

    Bad
    ```json
    {"bucket_reso_steps": 2}
    ```

    Good
    ```json
    {"bucket_reso_steps": 64}
    ```
    """
    value = view.values.get("bucket_reso_steps")
    if isinstance(value, int) and not isinstance(value, bool) and value < 8:
        message = f"bucket_reso_steps {value}: it is the grid of bucket sizes in pixels"
        foreign = view.document.origin is not None and view.document.origin.foreign
        message += ", and the U-Net needs at least 8" if foreign else ", not a number of steps or doublings"
        yield Hit(message, ("bucket_reso_steps",), "write 64", set_to("bucket_reso_steps", 64))


@rule(
    "LL815",
    "token-length-of-clip",
    "error",
    reads=("max_clip_token_length",),
    source="sd-scripts library/strategy_base.py _get_input_ids",
    sees="raw",
    targets=OURS,
)
def token_length_of_clip(view: View) -> Iterator[Hit]:
    """`max_clip_token_length` is 77, which counts CLIP's start and end marks.

    What it does
    Looks for 77, 152, 154, 227, 231 and 255.

    Why is this bad
    The setting counts what is left for the caption: 75 for each pass.

    Bad
    ```json
    {"max_clip_token_length": 77}
    ```

    Good
    ```json
    {"max_clip_token_length": 75}
    ```
    """
    meant = {77: 75, 152: 150, 154: 150, 227: 225, 231: 225, 255: 225}
    value = view.values.get("max_clip_token_length")
    if isinstance(value, int) and not isinstance(value, bool) and value in meant:
        message = f"max_clip_token_length {value}: it counts the caption's tokens, without CLIP's start and end marks"
        fix = set_to("max_clip_token_length", meant[value])
        foreign = view.document.origin is not None and view.document.origin.foreign
        severity: Severity = "warning" if foreign else "error"  # a --config_file's number is rounded
        yield Hit(message, ("max_clip_token_length",), f"write {meant[value]}", fix, severity)


@rule(
    "LL817",
    "clip-skip-zero",
    "error",
    reads=("clip_skip",),
    source="sd-scripts library/strategy_sd.py encode_tokens",
    sees="raw",
)
def clip_skip_zero(view: View) -> Iterator[Hit]:
    """`clip_skip` is 0, to skip nothing.

    What it does
    Looks for 0.

    Why is this bad
    The layers are counted from 1, the last one. 0 means the first one's input in sd-scripts, which bypasses the text
    encoder.

    Bad
    ```json
    {"clip_skip": 0}
    ```

    Good
    ```json
    {"clip_skip": 1}
    ```
    """
    value = view.values.get("clip_skip")
    if value in (0, "0") and not isinstance(value, bool):
        message = "clip_skip 0 does not mean that nothing is skipped: the last layer is 1"
        yield Hit(message, ("clip_skip",), "write 1", set_to("clip_skip", 1))
