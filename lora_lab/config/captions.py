"""Captions: where they are read, what is shuffled and dropped, and how long they may be."""

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from lora_lab.config.about import MANY, About, Pitfall, Topic, same
from lora_lab.config.shapes import not_a_float

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Captions(Topic):
    """The text side of the data."""

    title: ClassVar[str] = "Captions"

    caption_dropout_rate: Annotated[
        Share,
        About(
            row=10,
            meaning="Probability, each time a picture is used, that its whole caption is replaced by the empty text.",
            typical="0–0.1, styles 0.05–0.1: a little trains the unconditional side that guidance works against.",
            pitfalls=(
                Pitfall(
                    "1.0 means that no caption is ever seen; sd-scripts accepts any number.",
                    "sd-scripts library/train_util.py process_caption",
                ),
            ),
            names=same("caption_dropout_rate"),
        ),
    ] = 0.0
    caption_dropout_every_n_epochs: Annotated[
        Annotated[int, Field(ge=1, le=MANY)] | None,
        About(
            row=11,
            unit="epochs",
            meaning="In every epoch whose number is divisible by this one, all captions are empty.",
            typical="null, or 3 and more.",
            pitfalls=(
                Pitfall(
                    "1 empties every caption of the run.",
                    "sd-scripts library/train_util.py process_caption",
                ),
                Pitfall(
                    "A number above the number of epochs does nothing.",
                    "sd-scripts library/train_util.py process_caption",
                ),
            ),
            misread="Often explained as if a high number dropped more; the lower the number, the more is dropped.",
            names=same("caption_dropout_every_n_epochs"),
        ),
    ] = None
    caption_tag_dropout_rate: Annotated[
        Share,
        About(
            row=12,
            meaning=(
                "Probability with which each comma-separated tag of a caption is dropped, independently of the others."
            ),
            typical="0–0.2, for captions that are lists of tags.",
            pitfalls=(
                Pitfall(
                    "The trigger word is dropped like any other tag unless `keep_tokens` protects it.",
                    "sd-scripts library/train_util.py process_caption",
                ),
                Pitfall(
                    "1.0 leaves only the kept tags.",
                    "sd-scripts library/train_util.py process_caption",
                ),
                Pitfall(
                    'What remains is put together again with ", ", whatever stood between the tags.',
                    "sd-scripts library/train_util.py process_caption",
                ),
            ),
            misread="Often explained as dropping captions; it drops single tags.",
            names=same("caption_tag_dropout_rate"),
        ),
    ] = 0.0
    shuffle_captions: Annotated[
        bool,
        About(
            row=27,
            meaning="Shuffle the comma-separated tags of a caption each time it is used.",
            typical="true for lists of tags, false for sentences.",
            pitfalls=(
                Pitfall(
                    "Sentences are cut at their commas and put together in another order.",
                    "sd-scripts library/train_util.py process_caption",
                ),
                Pitfall(
                    "The trigger word moves with the rest unless `keep_tokens` is at least 1.",
                    "sd-scripts library/train_util.py process_caption",
                ),
                Pitfall(
                    "Of a caption beyond the token limit, each time another tail is cut off.",
                    "sd-scripts library/strategy_base.py _get_input_ids",
                ),
            ),
            misread=(
                "Often explained as shuffling the pictures between epochs; their order is always shuffled, this "
                "shuffles tags."
            ),
            names=same("shuffle_caption"),
        ),
    ] = False
    keep_tokens: Annotated[
        Annotated[int, Field(ge=0, le=MANY)],
        About(
            row=28,
            unit="tags",
            meaning="That many tags at the start of a caption stay there: they are neither shuffled nor dropped.",
            typical="1–2 (trigger word, class) together with shuffling or tag dropout, else 0.",
            pitfalls=(
                Pitfall(
                    "It does nothing without `shuffle_captions` or `caption_tag_dropout_rate`.",
                    "sd-scripts library/train_util.py process_caption",
                ),
                Pitfall(
                    (
                        "It counts comma-separated tags, not tokens; a number as high as a caption's tags "
                        "shuffles nothing."
                    ),
                    "sd-scripts library/train_util.py process_caption",
                ),
            ),
            misread=(
                "Often explained as the size of a vocabulary with rare words left out; it is the number of fixed "
                "leading tags."
            ),
            names=same("keep_tokens"),
        ),
    ] = 0
    tag_occurrence_txt_file: Annotated[
        bool,
        About(
            row=30,
            meaning="Write a text file into `output_folder` that lists every tag of the captions with its count.",
            typical="false, or true once to look over a data set.",
            pitfalls=(
                Pitfall(
                    "The counts ignore the repeats of the `N_name` folders.",
                    "LoRA_Easy_Training_Scripts d14b240 get_occurrence_of_tags",
                ),
                Pitfall(
                    (
                        "LoRA_Easy_Training_Scripts read the captions in the system's encoding: on Windows UTF-8 "
                        "captions broke the report."
                    ),
                    "LoRA_Easy_Training_Scripts d14b240 get_occurrence_of_tags",
                ),
            ),
            misread=(
                "Often explained as the path of a file that weights the loss; it is a switch for a report and "
                "never touches the training."
            ),
        ),
    ] = False
    sort_tag_occurrence_alphabetically: Annotated[
        bool,
        About(
            row=31,
            meaning="Sort the report of `tag_occurrence_txt_file` by tag; without it, by count.",
            typical="false: the frequent tags are what one looks for.",
            pitfalls=(
                Pitfall(
                    "It does nothing without `tag_occurrence_txt_file`.",
                    "LoRA_Easy_Training_Scripts d14b240 get_occurrence_of_tags",
                ),
            ),
        ),
    ] = False
    caption_extension: Annotated[
        Annotated[str, Field(pattern=r"^\.[^/\\]+$")],
        About(
            row=50,
            meaning=(
                "Extension, with its dot, of the caption file beside each picture; its first line, in UTF-8, is "
                "the caption."
            ),
            typical=".txt, sometimes .caption.",
            pitfalls=(
                Pitfall(
                    (
                        "If no caption file has this extension, every caption is silently the folder's name. The "
                        "default of sd-scripts is .caption."
                    ),
                    "sd-scripts library/train_util.py read_caption",
                ),
                Pitfall(
                    "Lines after the first are ignored.",
                    "sd-scripts library/train_util.py read_caption",
                ),
            ),
            type_text="text that begins with a dot",
            names=same("caption_extension"),
        ),
    ] = ".txt"
    max_clip_token_length: Annotated[
        Annotated[Literal[75, 150, 225], BeforeValidator(not_a_float)],
        About(
            row=51,
            unit="tokens",
            meaning="Longest caption that the text encoder sees; beyond 75 the caption is encoded in chunks of 75.",
            typical=(
                "75 for sentences, 150 or 225 for long lists of tags; each chunk costs a pass through the text encoder."
            ),
            pitfalls=(
                Pitfall(
                    "What is beyond the limit is cut off without a word.",
                    "sd-scripts library/strategy_base.py _get_input_ids",
                ),
                Pitfall(
                    "More than 75 where no caption is that long is text encoder time for nothing.",
                    "sd-scripts library/strategy_sd.py encode_tokens",
                ),
            ),
            misread="Often explained as leaving out pictures with longer captions; the captions are shortened.",
            names=same("max_token_length"),
        ),
    ] = 75
