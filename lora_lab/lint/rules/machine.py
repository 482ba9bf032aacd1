"""LL77x: what this machine can't do, or not well.

All of them are silent where the config is not meant to run: torch is not installed, or the base model is not here.
"""

from collections.abc import Iterator

from lora_lab.lint.finding import removed, set_to
from lora_lab.lint.machine import has_bf16
from lora_lab.lint.rule import OURS, Hit, View, rule

_PACKAGES = (
    ("8bit", "bitsandbytes", "bitsandbytes"),
    ("Paged", "bitsandbytes", "bitsandbytes"),
    ("Lion", "lion_pytorch", "lion-pytorch"),
    ("DAdapt", "dadaptation", "dadaptation"),
    ("Prodigy", "prodigyopt", "prodigyopt"),
    ("ScheduleFree", "schedulefree", "schedulefree"),
    ("AdaFactor", "transformers", "transformers"),
)
"""Part of an optimizer's name, the module that has it, and the package to install; the first that fits counts."""


def runs_here(view: View) -> bool:
    """Say whether the config may be meant for this machine: torch is installed and the base model is here.

    Where the disk is not to be looked at, the base is taken to be.
    """
    if not view.machine.trains:
        return False
    return view.disk_view is None or view.disk_view.exists(view.disk_view.resolve(view.config.base_model))


@rule(
    "LL770",
    "bf16-on-an-old-card",
    "warning",
    reads=("base_model", "mixed_precision"),
    source="https://github.com/bmaltais/kohya_ss/issues/523; NVIDIA compute capability 8.0",
    sees="machine",
)
def bf16_on_an_old_card(view: View) -> Iterator[Hit]:
    """The model is to compute in bf16, which the card can't.

    What it does
    Asks the card's compute capability (or knows its name): bf16 begins with 8.0, Ampere: RTX 30, A100, L4.

    Why is this bad
    T4, V100, RTX 20 and GTX cards imitate bf16 many times slower, or the run stops.

    Bad
    ```json
    {"mixed_precision": "bf16"}
    ```
    ```machine
    gpu: Tesla T4, 7.5, 15360
    ```

    Good
    ```json
    {"mixed_precision": "fp16"}
    ```
    ```machine
    gpu: Tesla T4, 7.5, 15360
    ```
    """
    if view.config.mixed_precision != "bf16" or not runs_here(view):
        return
    card = view.machine.gpu
    if card and has_bf16(card) is False:
        message = f"{card.name} does not compute in bf16"
        yield Hit(message, ("mixed_precision",), "set mixed_precision to fp16", set_to("mixed_precision", "fp16"))


@rule(
    "LL771",
    "fp16-without-card",
    "error",
    reads=("base_model", "mixed_precision"),
    source="lora_lab/train/prepare.py make_accelerator",
    sees="machine",
)
def fp16_without_card(view: View) -> Iterator[Hit]:
    """The model is to compute in fp16, and there is no card.

    What it does
    Looks for a graphics card where `mixed_precision` is fp16.

    Why is this bad
    Processors compute in fp16 about a hundred times slower than in 32 bits; the run stops rather than crawl.

    Bad
    ```json
    {"mixed_precision": "fp16"}
    ```
    ```machine
    gpu: none
    ```

    Good
    ```json
    {"mixed_precision": "no"}
    ```
    ```machine
    gpu: none
    ```
    """
    if view.config.mixed_precision == "fp16" and runs_here(view) and view.machine.cpu_only:
        message = "mixed_precision fp16 needs a graphics card, and this machine has none"
        yield Hit(message, ("mixed_precision",), "set mixed_precision to no", set_to("mixed_precision", "no"))


@rule(
    "LL772",
    "optimizer-not-installed",
    "error",
    reads=("base_model", "optimizer_type", "use_8bit_adam"),
    source="https://github.com/bmaltais/kohya_ss/issues/1683",
    sees="machine",
    targets=OURS,  # other trainers have environments of their own
)
def optimizer_not_installed(view: View) -> Iterator[Hit]:
    """The optimizer comes in a package that is not installed.

    What it does
    Looks for bitsandbytes, lion-pytorch, dadaptation, prodigyopt or schedulefree, as `optimizer_type` needs it.

    Why is this bad
    The run stops once the model is loaded and the pictures are encoded.

    Bad
    ```json
    {"optimizer_type": "AdamW8bit"}
    ```
    ```machine
    packages: torch
    ```

    Good
    ```json
    {"optimizer_type": "AdamW8bit"}
    ```
    ```machine
    packages: torch bitsandbytes
    ```
    """
    name, key = view.config.optimizer_type, "optimizer_type"
    if view.config.use_8bit_adam:
        name, key = "AdamW8bit", "use_8bit_adam"
    needed = next(((module, package) for mark, module, package in _PACKAGES if mark in name), None)
    if needed is None or "." in name or not runs_here(view):
        return
    module, package = needed
    if not view.machine.installed(module):
        yield Hit(f"{name} needs {package}, which is not installed", (key,), f"pip install {package}, or use AdamW")


@rule(
    "LL773",
    "xformers-not-installed",
    "warning",
    reads=("base_model", "xformers"),
    source="https://github.com/kohya-ss/sd-scripts/issues/420; lora_lab/train/prepare.py",
    sees="machine",
    targets=OURS,
)
def xformers_not_installed(view: View) -> Iterator[Hit]:
    """`xformers` is asked for, and the package or a card is missing.

    What it does
    Looks for the package xformers and an NVIDIA card.

    Why is this bad
    The setting has no effect: PyTorch's own attention is used, which is as fast on current versions.

    Bad
    ```json
    {"xformers": true}
    ```
    ```machine
    packages: torch
    gpu: NVIDIA GeForce RTX 3060, 8.6, 12288
    ```

    Good
    ```json
    {"xformers": true}
    ```
    ```machine
    packages: torch xformers
    gpu: NVIDIA GeForce RTX 3060, 8.6, 12288
    ```
    """
    if not view.config.xformers or not runs_here(view):
        return
    if not view.machine.installed("xformers"):
        message = "xformers is not installed, so it is not used"
    elif view.machine.cpu_only:
        message = "xformers needs an NVIDIA card, so it is not used"
    else:
        return
    # on another machine it may be used, so leaving it out is not safe
    yield Hit(message, ("xformers",), "leave it out", removed("xformers", safe=False))


@rule(
    "LL774",
    "torch-without-cuda",
    "warning",
    reads=("base_model",),
    source="https://pytorch.org/get-started/locally/",
    sees="machine",
    targets=OURS,
)
def torch_without_cuda(view: View) -> Iterator[Hit]:
    """There is an NVIDIA card, and the installed torch can't use it.

    What it does
    Reads the version of torch: one that ends in +cpu was built for the processor alone.

    Why is this bad
    The run takes hours where it could take minutes, and the card rests.

    Bad
    ```json
    {"base_model": "a/base"}
    ```
    ```machine
    packages: torch=2.10.0+cpu
    gpu: NVIDIA GeForce RTX 3060, 8.6, 12288
    ```

    Good
    ```json
    {"base_model": "a/base"}
    ```
    ```machine
    packages: torch=2.10.0+cu128
    gpu: NVIDIA GeForce RTX 3060, 8.6, 12288
    ```
    """
    if runs_here(view) and view.machine.gpu and view.machine.torch_without_cuda:
        message = f"this machine has an {view.machine.gpu.name}, and its torch was built without CUDA"
        yield Hit(message, ("base_model",), "install torch for CUDA: see pytorch.org")


@rule(
    "LL775",
    "more-workers-than-cores",
    "warning",
    reads=("base_model", "num_workers"),
    source="PyTorch torch.utils.data",
    sees="machine",
)
def more_workers_than_cores(view: View) -> Iterator[Hit]:
    """More processes are to load pictures than the machine has cores.

    What it does
    Compares `num_workers` with the cores that this process may use.

    Why is this bad
    They wait for each other, each holds its own copy of the loader in memory, and the training itself gets less.

    Bad
    ```json
    {"num_workers": 16}
    ```
    ```machine
    cores: 8
    ```

    Good
    ```json
    {"num_workers": 4}
    ```
    ```machine
    cores: 8
    ```
    """
    if view.config.num_workers < 2 or not runs_here(view):
        return
    cores = view.machine.cores
    if cores and view.config.num_workers > cores:
        message = f"num_workers {view.config.num_workers} is more than the {cores} core(s) of this machine"
        yield Hit(message, ("num_workers",), f"use at most {cores}; 0 is enough with cached latents")


@rule(
    "LL776",
    "compile-without-compiler",
    "warning",
    reads=("base_model", "torch_compile"),
    source="lora_lab/train/compiling.py; PyTorch torch.compiler",
    sees="machine",
    targets=OURS,
)
def compile_without_compiler(view: View) -> Iterator[Hit]:
    """`torch_compile` is asked for on a processor, and there is no C++ compiler.

    What it does
    Looks for a C++ compiler where there is no card to train on: what PyTorch compiles for a processor goes through it.

    Why is this bad
    The setting has no effect: the trainer says so and compiles nothing.

    Bad
    ```json
    {"torch_compile": true}
    ```
    ```machine
    gpu: none
    compiler: none
    ```

    Good
    ```json
    {"torch_compile": true}
    ```
    ```machine
    gpu: none
    compiler: g++
    ```
    """
    if view.config.torch_compile and runs_here(view) and view.machine.cpu_only and not view.machine.compiler:
        message = "there is no C++ compiler here, so nothing is compiled"
        yield Hit(
            message,
            ("torch_compile",),
            "install one (g++ or clang++), or leave it out",
            removed("torch_compile", safe=False),
        )
