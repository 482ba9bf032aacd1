"""Pictures that are drawn while training."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lora_lab.config.about import MANY, About, Pitfall, Topic, same
from lora_lab.config.files import Text


class Sampling(Topic):
    """Sample pictures."""

    title: ClassVar[str] = "Sample pictures"

    sample_prompts: Annotated[
        Text | list[Text] | None,
        About(
            row=73,
            meaning=(
                "What to draw while training: a list of prompts, or the path of a text file with one prompt a line."
            ),
            typical=(
                "2–6 prompts: the trigger word, the trigger in another scene, and one without it to see what leaks."
            ),
            pitfalls=(
                Pitfall(
                    "Without `sample_every_n_epochs` or `sample_every_n_steps` pictures are drawn at the end only.",
                    "lora_lab trainer (sd-scripts draws none then)",
                ),
                Pitfall(
                    "A line may carry options: --n negative, --w, --h, --d seed, --l guidance, --s steps.",
                    "sd-scripts library/train_util.py",
                ),
            ),
            type_text="path of a text file, or a list of texts",
            path_kind="file",
            names=same("sample_prompts"),
        ),
    ] = None
    sample_every_n_epochs: Annotated[
        Annotated[int, Field(ge=1, le=MANY)] | None,
        About(
            row=74,
            unit="epochs",
            meaning="Draw the sample pictures after every so many epochs.",
            typical="1, or as often as files are saved.",
            pitfalls=(
                Pitfall(
                    "It does nothing without `sample_prompts`.", "sd-scripts library/train_util.py sample_images_common"
                ),
                Pitfall(
                    "Set, it wins over `sample_every_n_steps`.", "sd-scripts library/train_util.py sample_images_common"
                ),
            ),
            names=same("sample_every_n_epochs"),
        ),
    ] = None
    sample_every_n_steps: Annotated[
        Annotated[int, Field(ge=1, le=MANY)] | None,
        About(
            row=75,
            unit="optimizer steps",
            meaning="Draw the sample pictures after every so many optimizer steps.",
            typical="null, or a few times per run: each drawing costs as much as dozens of training steps.",
            pitfalls=(
                Pitfall(
                    "It does nothing without `sample_prompts`.", "sd-scripts library/train_util.py sample_images_common"
                ),
            ),
            names=same("sample_every_n_steps"),
        ),
    ] = None
    sample_sampler: Annotated[
        Literal[
            "ddim",
            "pndm",
            "lms",
            "euler",
            "euler_a",
            "heun",
            "dpm_2",
            "dpm_2_a",
            "dpmsolver",
            "dpmsolver++",
            "dpmsingle",
            "k_lms",
            "k_euler",
            "k_euler_a",
            "k_dpm_2",
            "k_dpm_2_a",
        ],
        About(
            row=76,
            meaning="The method that draws the sample pictures.",
            typical="ddim; euler_a for a look closer to user interfaces.",
            pitfalls=(
                Pitfall(
                    "It changes the sample pictures only, never the training; compare pictures of the same one.",
                    "sd-scripts library/train_util.py sample_images_common",
                ),
            ),
            names=same("sample_sampler"),
        ),
    ] = "ddim"
