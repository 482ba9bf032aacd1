"""Which kind of network is trained: LoRA, LoHa or LoKr, each with or without DoRA."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lora_lab.config.about import About, Pitfall, Topic

_LOKR = "LyCORIS lycoris/modules/lokr.py"


class NetworkKinds(Topic):
    """How a layer's correction is made of the trained tensors."""

    title: ClassVar[str] = "Kind of network"

    network_type: Annotated[
        Literal["lora", "loha", "lokr"],
        About(
            row=119,
            meaning=(
                "How a layer's correction is made: lora: up·down; loha: the elementwise product of two such; lokr: "
                "the Kronecker product of a small matrix and a larger one."
            ),
            typical=(
                "lora; lokr with `net_dim` 100000 and a factor of 4 to 8 where a LoRA learns too little, loha where it "
                "learns too much."
            ),
            pitfalls=(
                Pitfall(
                    "loha and lokr files need a program that reads LyCORIS; diffusers reads lora alone.",
                    "KohakuBlueleaf/LyCORIS README",
                ),
                Pitfall(
                    "A loha is twice as large as a LoRA of its net_dim, and learns details less closely.",
                    "KohakuBlueleaf/LyCORIS docs/Guidelines.md",
                ),
                Pitfall(
                    "`network_dropout` has no effect on loha and lokr, which have no values between two matrices.",
                    "LyCORIS lycoris/modules/loha.py",
                ),
            ),
            since="2023-03",
        ),
    ] = "lora"
    use_dora: Annotated[
        bool,
        About(
            row=120,
            meaning=(
                "DoRA: the length of each row of a layer's weight is learned apart from its direction, beside whatever "
                "`network_type` learns."
            ),
            typical="false; true to come closer to full fine-tuning at low ranks, with a somewhat lower learning rate.",
            pitfalls=(
                Pitfall(
                    "Every step makes each layer's whole correction to measure it, which takes longer than a LoRA's.",
                    "peft docs, lora developer guide, DoRA caveats",
                ),
                Pitfall(
                    "diffusers leaves the magnitudes of such a file out, so that what it loads is another LoRA; "
                    "ComfyUI and programs that read LyCORIS take them.",
                    "diffusers loaders/lora_pipeline.py, the warning about `dora_scale`",
                ),
                Pitfall(
                    "The file can't be made weaker or stronger as evenly as a LoRA, nor merged into another one.",
                    "arXiv:2402.09353, equation 5",
                ),
            ),
            since="2024-03",
            names={"kohya_gui": "dora_wd"},
        ),
    ] = False
    use_tucker: Annotated[
        bool,
        About(
            row=137,
            meaning=(
                "At convolutions larger than 1 × 1 the kernel is learned apart, between two matrices of single places "
                "(Tucker's decomposition), which makes the file smaller."
            ),
            typical="false; true for a LoHa or LoKr with convolutions.",
            pitfalls=(
                Pitfall("It has no effect without `conv_dim`.", "LyCORIS lycoris/modules/locon.py"),
                Pitfall(
                    "diffusers does not read such files, nor LyCORIS 4.1 a LoKr of them; ComfyUI reads all.",
                    "LyCORIS lycoris/modules/lokr.py make_module_from_state_dict",
                ),
            ),
            since="2023-03",
            names={"kohya_gui": "use_tucker"},
        ),
    ] = False
    lokr_factor: Annotated[
        Annotated[int, Field(ge=-1, le=100_000)],
        About(
            row=121,
            meaning=(
                "How large LoKr's first matrix may be along a side, where the second has the rest of the width; "
                "-1 makes both as equal as the width allows."
            ),
            typical="-1 for the smallest file, 4 to 8 for more detail: the lower, the larger the file.",
            pitfalls=(
                Pitfall("At 1 the second matrix is the layer itself: the file has a model's size.", _LOKR),
                Pitfall("It has no effect unless `network_type` is lokr.", _LOKR),
            ),
            since="2023-03",
            names={"kohya_gui": "factor"},
        ),
    ] = -1
    decompose_both: Annotated[
        bool,
        About(
            row=122,
            meaning="LoKr: the first matrix, too, is a product of two of rank `net_dim`, where that is smaller.",
            typical="false; the first matrix is small anyway.",
            pitfalls=(
                Pitfall(
                    "It has no effect where `net_dim` is half the first matrix's side or more: 4 with factor 8.",
                    _LOKR,
                ),
                Pitfall("It has no effect unless `network_type` is lokr.", _LOKR),
            ),
            since="2023-03",
            names={"kohya_gui": "decompose_both"},
        ),
    ] = False
