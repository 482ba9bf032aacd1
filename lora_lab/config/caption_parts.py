"""Parts of captions: what is put before and after them, what stays in place, and what is chosen or shown later."""

from typing import Annotated, ClassVar

from pydantic import Field

from lora_lab.config.about import MANY, About, Pitfall, Topic, same
from lora_lab.config.files import Text


class CaptionParts(Topic):
    """More of the text side of the data."""

    title: ClassVar[str] = "Captions"

    keep_tokens_separator: Annotated[
        Text | None,
        About(
            row=109,
            meaning=(
                "A mark inside captions: the tags before it stay in front, those after a second one stay at the end."
            ),
            typical=("null, or ||| where the captions have it."),
            pitfalls=(
                Pitfall(
                    "In captions that have the mark `keep_tokens` does not count.",
                    "sd-scripts library/train_util.py process_caption",
                ),
                Pitfall(
                    "sd-scripts trains the mark itself as text where nothing is shuffled or dropped; here it never is.",
                    "sd-scripts library/train_util.py process_caption",
                ),
                Pitfall(
                    "Empty tags are left out of captions that have it.",
                    "sd-scripts library/train_util.py process_caption",
                ),
            ),
            since="2023-11",
            names=same("keep_tokens_separator"),
        ),
    ] = None
    caption_prefix: Annotated[
        Text | None,
        About(
            row=110,
            meaning=("Text that is put before every caption, with a space between."),
            typical=('null, or a trigger word with its comma, such as "lumi,".'),
            pitfalls=(
                Pitfall(
                    "Without a comma at its end it becomes one tag with the caption's first.",
                    "sd-scripts library/train_util.py process_caption",
                ),
                Pitfall(
                    "Its tags count as the caption's: `keep_tokens` must cover them where tags move or are dropped.",
                    "sd-scripts docs/config_README-en.md",
                ),
                Pitfall(
                    "sd-scripts leaves it out, without a word, where it caches the text encoder's outputs.",
                    "sd-scripts library/strategy_sdxl.py cache_batch_outputs",
                ),
            ),
            since="2023-09",
            names=same("caption_prefix"),
        ),
    ] = None
    caption_suffix: Annotated[
        Text | None,
        About(
            row=111,
            meaning=("Text that is put after every caption, with a space between."),
            typical=('null, or words that hold for every picture, such as ", a drawing".'),
            pitfalls=(
                Pitfall(
                    "Without a comma at its beginning it becomes one tag with the caption's last.",
                    "sd-scripts library/train_util.py process_caption",
                ),
            ),
            since="2023-09",
            names=same("caption_suffix"),
        ),
    ] = None
    enable_wildcard: Annotated[
        bool,
        About(
            row=112,
            meaning=("Choose one of `{a|b|c}` in a caption, and one of a caption's lines, each time it is used."),
            typical=("false, or true where captions are written so, in sentences and in tags on two lines."),
            pitfalls=(
                Pitfall(
                    "Brackets that are meant as text must be doubled: {{ and }}.",
                    "sd-scripts library/train_util.py process_caption",
                ),
                Pitfall(
                    "Every line counts the same, and blank ones are left out.",
                    "sd-scripts library/train_util.py read_caption",
                ),
                Pitfall(
                    "Validation goes by the first line and the first choice, so that val_loss stays comparable.",
                    "lora_lab/train/data/caption.py plain",
                ),
            ),
            since="2024-02",
            names=same("enable_wildcard"),
        ),
    ] = False
    secondary_separator: Annotated[
        Text | None,
        About(
            row=113,
            meaning=("A mark between tags that belong together; it becomes a comma after shuffling and dropping."),
            typical=("null, or ;;; where the captions have it."),
            pitfalls=(
                Pitfall(
                    "Tags that it joins are one tag to `keep_tokens`, shuffling and dropping.",
                    "sd-scripts library/train_util.py process_caption",
                ),
            ),
            since="2024-02",
            names=same("secondary_separator"),
        ),
    ] = None
    token_warmup_min: Annotated[
        Annotated[int, Field(ge=0, le=MANY)],
        About(
            row=114,
            unit="tags",
            meaning=("How many of a caption's loose tags are shown at the first step of `token_warmup_step`."),
            typical=("1."),
            pitfalls=(
                Pitfall(
                    "It does nothing without `token_warmup_step`.",
                    "sd-scripts library/train_util.py process_caption",
                ),
                Pitfall(
                    "Tags that `keep_tokens` keeps are shown besides.",
                    "sd-scripts library/train_util.py process_caption",
                ),
            ),
            since="2023-03",
            names=same("token_warmup_min"),
        ),
    ] = 1
    token_warmup_step: Annotated[
        Annotated[float, Field(ge=0.0, le=float(MANY))],
        About(
            row=115,
            unit="optimizer steps",
            meaning=("Steps over which the number of tags shown grows to all of them; below 1 a part of the run."),
            typical=("0; 0.1–0.5 to learn the first tags before the rest."),
            pitfalls=(
                Pitfall(
                    "Tags are cut from the end, before they are shuffled: put what matters first.",
                    "sd-scripts library/train_util.py process_caption",
                ),
                Pitfall(
                    "As many steps as the run has, or more: the last tags are never all seen.",
                    "sd-scripts library/train_util.py process_caption",
                ),
            ),
            since="2023-03",
            names=same("token_warmup_step"),
        ),
    ] = 0.0
    weighted_captions: Annotated[
        bool,
        About(
            row=136,
            meaning=(
                "Read `(word)`, `(word:1.3)` and `[word]` in captions as how much words count, as user interfaces do "
                "in prompts; brackets that are meant are written `\\(` and `\\)`."
            ),
            typical="false: captions say what there is, and the LoRA learns how much of it to draw.",
            pitfalls=(
                Pitfall(
                    "Tags of booru sites such as lumi (drawing) have brackets of their own, which are weights then.",
                    "sd-scripts library/strategy_base.py parse_prompt_attention",
                ),
                Pitfall(
                    "A bracket that holds several tags is torn apart where tags are shuffled or dropped.",
                    "sd-scripts library/custom_train_functions.py add_custom_train_arguments",
                ),
                Pitfall(
                    "The encoder's states are multiplied as they are; AUTOMATIC1111 then restores their mean, "
                    "sd-scripts and lora_lab do not.",
                    "sd-scripts library/strategy_sd.py encode_tokens_with_weights",
                ),
                Pitfall(
                    "SDXL's vector of the whole caption is not weighted.",
                    "sd-scripts library/strategy_sdxl.py encode_tokens_with_weights",
                ),
            ),
            since="2023-04",
            names=same("weighted_captions"),
        ),
    ] = False
    cache_text_encoder_outputs: Annotated[
        bool,
        About(
            row=123,
            meaning="Encode each text once and keep the text encoder's output, where the text encoder is not trained.",
            typical="true with `unet_only` and captions that stay as they are; false where tags are shuffled.",
            pitfalls=(
                Pitfall(
                    "It does nothing where the text encoder is trained: set `unet_only`.",
                    "sd-scripts sdxl_train_network.py assert_extra_args",
                ),
                Pitfall(
                    "Shuffled, drawn or dropped tags make another text each time, which is encoded anew: it is right "
                    "here, and saves nothing. sd-scripts stops, or trains the caption as it stands.",
                    "sd-scripts sdxl_train_network.py assert_extra_args; strategy_sdxl.py cache_batch_outputs",
                ),
            ),
            since="2023-06",
            names=same("cache_text_encoder_outputs"),
        ),
    ] = False
    cache_text_encoder_outputs_to_disk: Annotated[
        bool,
        About(
            row=124,
            meaning=(
                "Keep the cached outputs on disk for the next run; the entries are named after their content and "
                "can't be outdated."
            ),
            typical="false; true for repeated runs with the same captions.",
            pitfalls=(
                Pitfall("It does nothing without `cache_text_encoder_outputs`.", "lora_lab/train/step.py"),
                Pitfall(
                    "An entry has a quarter of a megabyte with SD 1.x, 0.6 with SDXL, for every 75 tokens.",
                    "77 × 768 and 77 × 2048 values of 32 bits",
                ),
                Pitfall(
                    "sd-scripts writes .npz files beside the pictures and reuses them after captions were edited.",
                    "sd-scripts library/strategy_sdxl.py is_disk_cached_outputs_expected",
                ),
            ),
            since="2023-06",
            names=same("cache_text_encoder_outputs_to_disk"),
        ),
    ] = False
