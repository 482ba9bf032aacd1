"""The base model's kind, precision, memory and speed."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lora_lab.config.about import About, Pitfall, Topic, same
from lora_lab.config.files import Text


class Machine(Topic):
    """What the model is and how it is run."""

    title: ClassVar[str] = "Model and machine"

    v2: Annotated[
        bool,
        About(
            row=64,
            meaning="Says that `base_model` is a Stable Diffusion 2.x model.",
            typical="false for SD 1.x, true for SD 2.x.",
            pitfalls=(
                Pitfall("With a wrong value the model does not load.", "sd-scripts library/model_util.py"),
                Pitfall(
                    "`clip_skip` belongs at 1 then: the text encoder of SD 2.x has its last layer cut already.",
                    "sd-scripts library/train_util.py verify_training_args",
                ),
            ),
            names=same("v2"),
        ),
    ] = False
    v_parameterization: Annotated[
        bool,
        About(
            row=65,
            meaning=(
                "Says that the base predicts velocity (v) instead of noise, so that the LoRA is trained towards "
                "the same target."
            ),
            typical="true for SD 2.x at 768 and other v-prediction models, else false.",
            pitfalls=(
                Pitfall(
                    "A wrong value trains without an error and gives pictures of noise.",
                    "sd-scripts library/train_util.py verify_training_args",
                ),
                Pitfall(
                    "LoRA_Easy_Training_Scripts dropped it without `v2`.",
                    "LoRA_Easy_Training_Scripts d14b240 create_optional_args",
                ),
            ),
            misread="Often explained as a kind of normalisation; it is what the model was trained to predict.",
            names=same("v_parameterization"),
        ),
    ] = False
    clip_skip: Annotated[
        Annotated[int, Field(ge=1, le=23)],
        About(
            row=42,
            unit="layers from the end",
            meaning=(
                "Which layer of the text encoder gives the caption's features, counted from the end: 1 is the "
                "last one, nothing is skipped."
            ),
            typical=(
                "1 for realistic SD 1.x models and SD 2.x, 2 for anime models that descend from NovelAI's; SDXL "
                "has it fixed."
            ),
            pitfalls=(
                Pitfall(
                    "Pictures must be made with the same setting, or the LoRA works worse.",
                    "sd-scripts library/strategy_sd.py encode_tokens",
                ),
                Pitfall(
                    "SD 1.x has 12 layers: more is impossible there. 0 in sd-scripts bypasses the text encoder.",
                    "sd-scripts library/strategy_sd.py encode_tokens",
                ),
                Pitfall(
                    "LoRA_Easy_Training_Scripts had 2 as its default and always passed it on.",
                    "LoRA_Easy_Training_Scripts d14b240",
                ),
            ),
            misread="Often explained as skipping clipped pictures, true or false; it is the number of a layer.",
            names=same("clip_skip"),
        ),
    ] = 1
    vae: Annotated[
        Text | None,
        About(
            row=59,
            meaning="Another VAE, of the same family, that encodes the training pictures instead of the base's own.",
            typical="null: the base's own is right almost always.",
            pitfalls=(
                Pitfall("It mostly makes results worse.", "LoRA_Easy_Training_Scripts d14b240 (comment)"),
                Pitfall("SDXL's own VAE gives NaN in fp16.", "sd-scripts docs/train_network.md"),
            ),
            misread="Often explained as training the model as a VAE, true or false; it is the path of a VAE.",
            path_kind="model",
            names=same("vae"),
        ),
    ] = None
    mixed_precision: Annotated[
        Literal["no", "fp16", "bf16"],
        About(
            row=47,
            meaning=(
                "Number format in which the frozen model computes; the LoRA itself is trained in 32 bits whatever "
                "it says."
            ),
            typical="bf16 on NVIDIA cards from Ampere on, fp16 on older ones, no on a CPU.",
            pitfalls=(
                Pitfall(
                    "bf16 on older cards is refused or emulated slowly, fp16 overflows sooner.",
                    "accelerate; PyTorch notes on automatic mixed precision",
                ),
                Pitfall(
                    "`none` and `fp32` are not names here: full precision is `no`.",
                    "sd-scripts library/train_util.py",
                ),
            ),
            misread="Often given as true or false; it is one of three words.",
            names=same("mixed_precision"),
        ),
    ] = "bf16"
    gradient_checkpointing: Annotated[
        bool,
        About(
            row=45,
            meaning=(
                "Compute the model's inner values again in the backward pass instead of keeping them: less memory "
                "for more time."
            ),
            typical="true below about 12 GB of GPU memory.",
            pitfalls=(Pitfall("A step takes about a quarter to a third longer.", "arXiv:1604.06174"),),
            names=same("gradient_checkpointing"),
        ),
    ] = False
    xformers: Annotated[
        bool,
        About(
            row=53,
            meaning="Use the attention kernels of the package xformers instead of PyTorch's own.",
            typical="false: PyTorch's own are as fast on current versions.",
            pitfalls=(
                Pitfall(
                    (
                        "It needs the package and an NVIDIA card; elsewhere the trainer says so and uses "
                        "PyTorch's kernels."
                    ),
                    "sd-scripts library/train_util.py replace_unet_modules",
                ),
                Pitfall("Results differ slightly from one run to the next.", "xformers memory_efficient_attention"),
            ),
            misread="Often explained as a list of transformations of the pictures; it is an attention kernel.",
            names=same("xformers"),
        ),
    ] = False
    torch_compile: Annotated[
        bool,
        About(
            row=138,
            meaning=(
                "Compile the U-Net's transformer blocks with torch.compile: the first steps take minutes, each later "
                "one less time."
            ),
            typical="false; true for long runs whose steps take a second or more, in bf16.",
            pitfalls=(
                Pitfall(
                    "What it gains must pay for the compiling first: on a processor a tenth to a quarter of a step in "
                    "bf16, next to nothing in full precision.",
                    "lora_lab benchmarks/RESULTS.md",
                ),
                Pitfall(
                    "Each further shape of a batch can be compiled anew: many buckets cost many minutes.",
                    "PyTorch torch.compiler, dynamic shapes",
                ),
                Pitfall(
                    "`network_dropout`, `rank_dropout` and `module_dropout` cut the blocks into many pieces, which "
                    "take longer to compile and gain less.",
                    "PyTorch torch.compiler, graph breaks",
                ),
                Pitfall("Losses differ in their last digits from those of a run without it.", "PyTorch torch.compiler"),
                Pitfall(
                    "On a processor it needs a C++ compiler, on an NVIDIA card Triton; without, the trainer says so "
                    "and compiles nothing.",
                    "PyTorch torch.compiler",
                ),
            ),
            names=same("torch_compile"),
        ),
    ] = False
    num_workers: Annotated[
        Annotated[int, Field(ge=0, le=1024)],
        About(
            row=22,
            unit="processes",
            meaning="Processes that load pictures beside the training; 0 loads them in the training process.",
            typical="0 with cached latents, else 1–8 up to the number of cores; 0–2 on Windows.",
            pitfalls=(
                Pitfall("Each one holds its own copy of the loader in memory.", "PyTorch torch.utils.data"),
                Pitfall(
                    "On Windows each one is a new process that takes seconds to start.",
                    "LoRA_Easy_Training_Scripts README; torch DataLoader",
                ),
            ),
            misread="Often explained as threads; they are processes.",
            names=same("max_data_loader_n_workers"),
        ),
    ] = 0
    persistent_workers: Annotated[
        bool,
        About(
            row=23,
            meaning="Keep the loading processes alive from one epoch to the next.",
            typical="true with short epochs and num_workers above 0.",
            pitfalls=(
                Pitfall("Without workers (`num_workers` 0) there is nothing to keep.", "PyTorch torch.utils.data"),
                Pitfall("The processes keep their memory between epochs.", "torch DataLoader"),
            ),
            names=same("persistent_data_loader_workers"),
        ),
    ] = False
