"""How long a run is, how big its batches are, when it saves and how it goes on."""

from typing import Annotated, ClassVar

from pydantic import Field

from lora_lab.config.about import MANY, MAX_SEED, About, Pitfall, Topic, same
from lora_lab.config.files import Text

Count = Annotated[int, Field(ge=1, le=MANY)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]


class Duration(Topic):
    """Steps, epochs, batches, saving and resuming."""

    title: ClassVar[str] = "Steps, batches and saving"

    batch_size: Annotated[
        Count,
        About(
            row=24,
            unit="pictures",
            meaning="Pictures per step; a batch never mixes pictures of different buckets.",
            typical="1–8, as memory allows; with a bigger batch raise the learning rate or the epochs.",
            pitfalls=(
                Pitfall(
                    (
                        "Each bucket ends with a smaller batch: many small buckets mean more steps than pictures "
                        "divided by batch size."
                    ),
                    "sd-scripts library/train_util.py make_buckets",
                ),
            ),
            misread="Small batches are often said to converge more slowly; per picture seen that is unproven.",
            names=same("train_batch_size"),
        ),
    ] = 1
    num_epochs: Annotated[
        Count,
        About(
            row=25,
            unit="epochs",
            meaning=(
                "Times that the run goes through all pictures with their repeats; it counts only while "
                "`max_steps` is null."
            ),
            typical="1–20, depending on the repeats.",
            pitfalls=(
                Pitfall(
                    "With `max_steps` set it has no effect here; in sd-scripts it is the other way round, epochs win.",
                    "sd-scripts train_network.py",
                ),
            ),
            names={"sd-scripts": "max_train_epochs", "kohya_gui": "epoch"},
        ),
    ] = 1
    max_steps: Annotated[
        Count | None,
        About(
            row=29,
            unit="optimizer steps",
            meaning="Length of the run in optimizer steps; set, it wins over `num_epochs`.",
            typical="null, or 500–3000 for a LoRA on some dozens of pictures.",
            pitfalls=(
                Pitfall(
                    "It counts optimizer steps: with `gradient_acc_steps` each one takes several batches.",
                    "sd-scripts train_network.py",
                ),
                Pitfall("sd-scripts trains 1600 steps where neither is given.", "sd-scripts library/train_util.py"),
            ),
            names=same("max_train_steps"),
        ),
    ] = None
    gradient_acc_steps: Annotated[
        Count,
        About(
            row=46,
            unit="batches",
            meaning=(
                "Batches whose gradients are averaged before one optimizer step: the effective batch is "
                "batch_size times this."
            ),
            typical="1–8, where a bigger batch does not fit into memory.",
            pitfalls=(
                Pitfall(
                    "An epoch has fewer optimizer steps then, so schedule and warm-up are shorter.",
                    "sd-scripts train_network.py",
                ),
                Pitfall(
                    "LoRA_Easy_Training_Scripts ignored it unless `gradient_checkpointing` was on.",
                    "LoRA_Easy_Training_Scripts d14b240 create_optional_args",
                ),
                Pitfall(
                    "sd-scripts before March 2023 trained this many times more epochs than asked for.",
                    "sd-scripts a167a592",
                ),
            ),
            misread="Often explained as saving memory; memory stays the same, the effective batch grows.",
            names=same("gradient_accumulation_steps"),
        ),
    ] = 1
    save_every_n_epochs: Annotated[
        Count | None,
        About(
            row=26,
            unit="epochs",
            meaning="Save the LoRA after every so many epochs, besides the file at the end.",
            typical="1–5: the best epoch is often not the last.",
            pitfalls=(
                Pitfall(
                    "The last epoch is saved under the plain name only; a number above the epochs saves nothing extra.",
                    "sd-scripts train_network.py",
                ),
            ),
            names=same("save_every_n_epochs") | {"easy_2023_01": "save_at_n_epochs"},
        ),
    ] = None
    save_every_n_steps: Annotated[
        Count | None,
        About(
            row=77,
            unit="optimizer steps",
            meaning="Save the LoRA after every so many optimizer steps, as `NAME-step00000100`.",
            typical="null, or a few saves per run.",
            pitfalls=(Pitfall("A small number fills the disk.", "sd-scripts train_network.py"),),
            since="2023-04",
            names=same("save_every_n_steps"),
        ),
    ] = None
    save_last_n_epochs: Annotated[
        Count | None,
        About(
            row=78,
            unit="epochs",
            meaning="Keep the epoch files of the last so many epochs and delete older ones of this run.",
            typical="null.",
            pitfalls=(
                Pitfall(
                    "It deletes files, and does nothing without `save_every_n_epochs`.",
                    "sd-scripts library/train_util.py",
                ),
            ),
            since="2023-02",
            names=same("save_last_n_epochs"),
        ),
    ] = None
    keep_best: Annotated[
        bool,
        About(
            row=107,
            meaning=(
                "Write the LoRA of the lowest `val_loss` so far to `NAME-best.safetensors`, besides the other files."
            ),
            typical="true wherever `validation_split` is set: the last step is rarely the best one.",
            pitfalls=(
                Pitfall("It needs `validation_split`: there is nothing to choose by without.", "lora_lab trainer"),
                Pitfall(
                    "A run is judged at most 20 times, at the ends of epochs: a best step in between is not seen.",
                    "lora_lab/train/loop.py MAX_VALIDATIONS",
                ),
                Pitfall(
                    "The lowest loss is not always the LoRA that looks best: compare its pictures with later ones.",
                    "lora_lab/train/validate.py",
                ),
            ),
            since="2026",
        ),
    ] = False
    save_state: Annotated[
        bool,
        About(
            row=36,
            meaning="With each saved file also write a folder `NAME-…-state` from which the run can go on exactly.",
            typical="false, or true for long runs that may be interrupted.",
            pitfalls=(
                Pitfall(
                    "A state holds the optimizer too: about six times the size of an fp16 LoRA, each time.",
                    "two 32-bit moments and the 32-bit weights of AdamW",
                ),
                Pitfall(
                    "Without `save_every_n_epochs` or `save_every_n_steps` there is one state, at the end.",
                    "sd-scripts train_network.py",
                ),
            ),
            misread="Often said to be stored into `lora_model_for_resume`; states are folders in `output_folder`.",
            names=same("save_state"),
        ),
    ] = False
    load_previous_save_state: Annotated[
        Text | None,
        About(
            row=37,
            meaning=(
                "A state folder that `save_state` wrote: the run goes on from there, with optimizer, schedule and "
                "step number."
            ),
            typical="null.",
            pitfalls=(
                Pitfall(
                    (
                        "The schedule goes on too: after the planned end of a cosine or linear one the learning "
                        "rate is 0 and nothing more is learned."
                    ),
                    "kohya-ss/sd-scripts #141, #954, #840",
                ),
                Pitfall(
                    "Rank, optimizer and trained parts must be the same as in the interrupted run.",
                    "accelerate load_state",
                ),
            ),
            misread="Often given as true or false; it is the path of a folder.",
            path_kind="folder",
            names=same("resume") | {"easy_2023_03": "resume"},
        ),
    ] = None
    test_seed: Annotated[
        Seed,
        About(
            row=43,
            meaning=(
                "Seed of every random draw of the training: first weights, order, captions, timesteps, noise, dropout."
            ),
            typical="Any number, the same one for runs that are compared; several for an idea of the spread.",
            pitfalls=(
                Pitfall(
                    "On a GPU the same seed gives nearly, not exactly, the same numbers.",
                    "PyTorch notes on reproducibility",
                ),
                Pitfall(
                    "LoRA_Easy_Training_Scripts turned 0 into a random seed.",
                    "LoRA_Easy_Training_Scripts c2ffb64 Parser.create_args",
                ),
            ),
            misread="Often explained as the seed of a test set; it is the seed of the training.",
            names=same("seed"),
        ),
    ] = 23
    validation_split: Annotated[
        Annotated[float, Field(ge=0.0, lt=1.0)],
        About(
            row=71,
            meaning=(
                "Part of the training pictures that is held out to measure `val_loss`; regularisation pictures "
                "never are."
            ),
            typical="0, or 0.1–0.2 with at least some ten pictures.",
            pitfalls=(
                Pitfall(
                    "The held-out pictures are not learned: with very few pictures each is missed.",
                    "sd-scripts library/train_util.py split_train_val",
                ),
                Pitfall(
                    "A split so small that no picture of a folder is held out measures nothing there.",
                    "sd-scripts library/train_util.py split_train_val",
                ),
            ),
            since="2025",
            names=same("validation_split"),
        ),
    ] = 0.0
    validation_seed: Annotated[
        Seed,
        About(
            row=72,
            meaning=(
                "Seed that chooses the held-out pictures and their timesteps and noise, independent of `test_seed`."
            ),
            typical="0, the same for all runs that are compared.",
            pitfalls=(
                Pitfall(
                    "Runs with different ones hold out different pictures: their val_loss does not compare.",
                    "sd-scripts library/train_util.py split_train_val",
                ),
                Pitfall(
                    "Left out in sd-scripts, pictures of the validation set are trained too.",
                    "sd-scripts library/train_util.py split_train_val",
                ),
            ),
            since="2025",
            names=same("validation_seed"),
        ),
    ] = 0
