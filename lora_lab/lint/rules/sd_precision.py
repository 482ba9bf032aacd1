"""LL75x: number formats, model families and noise as sd-scripts has them."""

from collections.abc import Iterator
from functools import partial
from typing import Final, NamedTuple

from lora_lab.lint.rule import SD_SCRIPTS, THEIRS, Hit, View, rule

_theirs = partial(rule, reads=(), sees="theirs", targets=THEIRS)
_TU = "sd-scripts train_util.py"


@_theirs(
    "LL750", "half-vae-of-sdxl", "warning", source="sd-scripts #952, #881; kohya_ss #3087, #2674; lora-scripts #267"
)
def half_vae_of_sdxl(view: View) -> Iterator[Hit]:
    """SDXL is trained in fp16, and its VAE with it.

    What it does
    Looks for `mixed_precision` fp16 with SDXL, without `no_half_vae` and without another VAE.

    Why is this bad
    The numbers in SDXL's VAE are too large for fp16: `NaN detected in latents`, black samples.

    Bad
    ```sh
    accelerate launch sdxl_train_network.py --pretrained_model_name_or_path=base --mixed_precision=fp16
    ```

    Good
    ```sh
    accelerate launch sdxl_train_network.py --pretrained_model_name_or_path=base --mixed_precision=fp16 --no_half_vae
    ```
    """
    theirs = view.theirs
    if theirs.family != "sdxl" or theirs.word("mixed_precision") != "fp16" or theirs.on("no_half_vae"):
        return
    if theirs.on("vae") or theirs.varies("vae") or theirs.has("config_file"):
        return
    message = "SDXL's own VAE gives NaN in fp16, and no_half_vae is off"
    yield theirs.hit(message, ("mixed_precision",), "set no_half_vae, or use bf16")


@_theirs("LL751", "full-precision-differs", "error", source="sd-scripts train_network.py assert; sd-scripts #1107")
def full_precision_differs(view: View) -> Iterator[Hit]:
    """`full_fp16` or `full_bf16` does not go with `mixed_precision`.

    What it does
    Compares them, and looks for both at once; `fp8_base` needs a mixed precision.

    Why is this bad
    sd-scripts stops: `full_fp16 requires mixed precision='fp16'`.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    full_fp16 = true
    mixed_precision = "bf16"
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    full_bf16 = true
    mixed_precision = "bf16"
    ```
    """
    theirs = view.theirs
    if theirs.varies("mixed_precision") or theirs.has("config_file") or theirs.part in ("dataset", "some"):
        return
    mixed = theirs.word("mixed_precision") or ("" if theirs.gui else "no")
    for name in ("full_fp16", "full_bf16"):
        if theirs.get(name) is True and mixed and mixed != name.removeprefix("full_"):
            message = f"{name} with {theirs.key('mixed_precision')} {mixed}: sd-scripts stops"
            yield theirs.hit(message, (name, "mixed_precision"), f"write mixed_precision {name.removeprefix('full_')}")
    if theirs.get("full_fp16") is True and theirs.get("full_bf16") is True:
        yield theirs.hit("full_fp16 and full_bf16 are both set", ("full_fp16", "full_bf16"), "keep one", "warning")
    if theirs.get("fp8_base") is True and mixed == "no":
        message = "fp8_base without a mixed precision: sd-scripts stops"
        yield theirs.hit(message, ("fp8_base",), "write mixed_precision bf16 or fp16")


@_theirs("LL752", "switch-of-another-family", "error", source="sd-scripts sdxl_train_util.py verify_sdxl_training_args")
def switch_of_another_family(view: View) -> Iterator[Hit]:
    """SDXL is to be trained with a switch of SD 2.

    What it does
    Looks for `v2` with SDXL.

    Why is this bad
    sd-scripts stops: `v2 cannot be enabled in SDXL training`.

    Bad
    ```sh
    accelerate launch sdxl_train_network.py --pretrained_model_name_or_path=base --v2
    ```

    Good
    ```sh
    accelerate launch sdxl_train_network.py --pretrained_model_name_or_path=base
    ```
    """
    if view.theirs.family == "sdxl" and view.theirs.get("v2") is True:
        yield view.theirs.hit("v2 is for SD 2, and this is SDXL: sd-scripts stops", ("v2",), "take it out")


@_theirs(
    "LL753", "clip-skip-of-sdxl", "warning", source="sd-scripts sdxl_train_util.py; strategy_sdxl.py; kohya_ss #3039"
)
def clip_skip_of_sdxl(view: View) -> Iterator[Hit]:
    """`clip_skip` is set with SDXL or FLUX, which have no such setting.

    What it does
    Looks for `clip_skip` above 1 with these families.

    Why is this bad
    It is ignored: SDXL always takes the same layers.

    Bad
    ```sh
    accelerate launch sdxl_train_network.py --pretrained_model_name_or_path=base --clip_skip=2
    ```

    Good
    ```sh
    accelerate launch sdxl_train_network.py --pretrained_model_name_or_path=base
    ```
    """
    theirs = view.theirs
    skip = theirs.number("clip_skip")
    if theirs.family in ("sdxl", "other") and skip and skip > 1:
        what = "SDXL" if theirs.family == "sdxl" else "this family of models"
        yield theirs.hit(f"{theirs.key('clip_skip')} {skip:g} has no effect with {what}", ("clip_skip",), "take it out")


@_theirs(
    "LL754", "parts-of-flux-missing", "error", targets=SD_SCRIPTS, source="sd-scripts flux_train_network.py; #1571"
)
def parts_of_flux_missing(view: View) -> Iterator[Hit]:
    """A part of FLUX is not named.

    What it does
    Looks in a command of `flux_train_network.py` for `--clip_l`, `--t5xxl` and `--ae`.

    Why is this bad
    FLUX comes in four files, and the script stops without one of them.

    Bad
    ```sh
    accelerate launch flux_train_network.py --pretrained_model_name_or_path=flux1-dev.safetensors --ae=ae.safetensors
    ```

    Good
    ```sh
    accelerate launch flux_train_network.py --pretrained_model_name_or_path=flux1-dev.safetensors --ae=ae.safetensors
      --clip_l=clip_l.safetensors --t5xxl=t5xxl_fp16.safetensors
    ```
    """
    theirs = view.theirs
    if theirs.program != "flux_train_network" or theirs.has("config_file"):
        return
    lost = [f"--{name}" for name in ("clip_l", "t5xxl", "ae") if not theirs.has(name)]
    if lost and not theirs.text.rstrip().endswith("\\"):
        yield theirs.hit(f"FLUX needs {' and '.join(lost)} too: the script stops", (), "name the files")


class _Pair(NamedTuple):
    """A setting that needs another one."""

    name: str
    needs: str
    does: str
    stops: bool = False


_NEEDS: Final = (
    _Pair("zero_terminal_snr", "v_parameterization", "it is for models that predict v"),
    _Pair("scale_v_pred_loss_like_noise_pred", "v_parameterization", "sd-scripts stops", stops=True),
    _Pair("adaptive_noise_scale", "noise_offset", "sd-scripts stops", stops=True),
    _Pair("noise_offset_random_strength", "noise_offset", "it changes nothing"),
    _Pair("ip_noise_gamma_random_strength", "ip_noise_gamma", "it changes nothing"),
    _Pair("validate_every_n_steps", "validation_split", "it changes nothing"),
    _Pair("validate_every_n_epochs", "validation_split", "it changes nothing"),
    _Pair("save_last_n_steps", "save_every_n_steps", "it changes nothing"),
    _Pair("save_last_n_steps_state", "save_every_n_steps", "it changes nothing"),
)


@_theirs("LL755", "needs-another-setting", "warning", source=f"{_TU} verify_training_args")
def needs_another_setting(view: View) -> Iterator[Hit]:
    """A setting does nothing, or stops the run, without another one.

    What it does
    Looks for `zero_terminal_snr` and `scale_v_pred_loss_like_noise_pred` without `v_parameterization`,
    `adaptive_noise_scale` without `noise_offset`, validation intervals without a split, and the like.

    Why is this bad
    Some stop the run after the latents are cached; the others change nothing, in silence.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    scale_v_pred_loss_like_noise_pred = true
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    scale_v_pred_loss_like_noise_pred = true
    v_parameterization = true
    ```
    """
    theirs = view.theirs
    if theirs.part in ("dataset", "some") or theirs.has("config_file"):
        return
    for one in _NEEDS:
        if theirs.on(one.name) and not theirs.on(one.needs) and not theirs.varies(one.needs):
            if theirs.gui and not one.stops and not one.name.startswith("zero"):
                continue  # the GUI saves the fields of every box
            if theirs.gui and one.name == "adaptive_noise_scale":
                continue  # passed on with noise_offset only
            message = f"{theirs.key(one.name)} without {theirs.key(one.needs)}: {one.does}"
            yield theirs.hit(message, (one.name,), f"set {theirs.key(one.needs)}", "error" if one.stops else None)


_EXCLUDES: Final = (
    ("v_pred_like_loss", "v_parameterization", "sd-scripts stops", True),
    ("min_snr_gamma", "debiased_estimation_loss", "both weights are multiplied", False),
    ("noise_offset", "multires_noise_iterations", "both are added to the noise", False),
    ("lowram", "highvram", "they contradict each other", False),
)


@_theirs("LL756", "two-that-exclude-each-other", "warning", source=f"{_TU} verify_training_args; train_network.py")
def two_that_exclude_each_other(view: View) -> Iterator[Hit]:
    """Two settings are on of which one is meant.

    What it does
    Looks for `v_pred_like_loss` with `v_parameterization`, `min_snr_gamma` with `debiased_estimation_loss`,
    `noise_offset` with `multires_noise_iterations`, `lowram` with `highvram`.

    Why is this bad
    The first pair stops the run; the others add up to something that nobody chose.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    v_pred_like_loss = 0.5
    v_parameterization = true
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    min_snr_gamma = 5
    ```
    """
    theirs = view.theirs
    for first, second, does, stops in _EXCLUDES:
        if theirs.on(first) and theirs.on(second):
            if first == "noise_offset" and theirs.gui and theirs.get("noise_offset_type") in ("Original", "Multires"):
                continue  # the GUI passes on the one that its box says
            message = f"{theirs.key(first)} with {theirs.key(second)}: {does}"
            yield theirs.hit(message, (first, second), "keep one of the two", "error" if stops else None)


@_theirs("LL757", "loss-setting-ignored", "warning", source=f"{_TU} get_huber_threshold_if_needed")
def loss_setting_ignored(view: View) -> Iterator[Hit]:
    """A setting of the Huber loss stands beside another loss, or has no effect in its schedule.

    What it does
    Looks for `huber_c`, `huber_schedule` and `huber_scale` without `loss_type` huber or smooth_l1; for `huber_scale`
    with the schedule snr, and a `huber_c` of 0 with the exponential one.

    Why is this bad
    The setting changes nothing; the last one stops the run.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    loss_type = "l2"
    huber_c = 0.5
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    loss_type = "huber"
    huber_c = 0.5
    ```
    """
    theirs = view.theirs
    if theirs.varies("loss_type") or theirs.gui or theirs.part in ("dataset", "some") or theirs.has("config_file"):
        return
    huber = theirs.word("loss_type") in ("huber", "smooth_l1")
    usual = {"huber_c": (0.1,), "huber_schedule": ("snr", "exponential"), "huber_scale": (1, 1.0)}
    for name, defaults in usual.items():
        if theirs.on(name) and not huber and theirs.get(name) not in defaults:
            message = f"{name} is ignored with loss_type {theirs.word('loss_type') or 'l2'}"
            yield theirs.hit(message, (name, "loss_type"), "write loss_type huber, or take it out")
    schedule = theirs.word("huber_schedule") or "snr"
    if huber and schedule == "snr" and theirs.number("huber_scale") not in (None, 1):
        yield theirs.hit("huber_scale is ignored with huber_schedule snr", ("huber_scale",), "use huber_c")
    if huber and schedule == "exponential" and theirs.number("huber_c") == 0:
        yield theirs.hit("huber_c 0 with huber_schedule exponential stops the run", ("huber_c",), "use 0.1", "error")


@_theirs("LL758", "timesteps-upside-down", "error", source=f"{_TU} get_timesteps")
def timesteps_upside_down(view: View) -> Iterator[Hit]:
    """The smallest timestep is not below the largest.

    What it does
    Compares `min_timestep` with `max_timestep`, which is 1000 if not set.

    Why is this bad
    Every picture gets the same amount of noise.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    min_timestep = 800
    max_timestep = 200
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    min_timestep = 200
    max_timestep = 800
    ```
    """
    theirs = view.theirs
    least, most = theirs.number("min_timestep"), theirs.number("max_timestep")
    most = 1000 if most is None or (theirs.gui and most == 0) else most
    if least and least >= most:
        message = f"min_timestep {least:g} is not below max_timestep {most:g}: every picture gets the same noise"
        yield theirs.hit(message, ("min_timestep", "max_timestep"), "exchange them")


@_theirs("LL759", "validation-overlaps", "error", source=f"{_TU} split_train_val")
def validation_overlaps(view: View) -> Iterator[Hit]:
    """Pictures are held out, and no seed says which.

    What it does
    Looks for `validation_split` without `validation_seed`.

    Why is this bad
    The training set and the held-out set are drawn one after the other, so more than half of the pictures that are
    held out are trained as well, and the number says nothing.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    validation_split = 0.1
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    validation_split = 0.1
    validation_seed = 42
    ```
    """
    theirs = view.theirs
    if theirs.on("validation_split") and not theirs.has("validation_seed"):
        message = "validation_split without validation_seed: pictures that are held out are trained too"
        yield theirs.hit(message, ("validation_split",), "set validation_seed")


@_theirs("LL760", "logs-without-folder", "error", source=f"{_TU} prepare_accelerator")
def logs_without_folder(view: View) -> Iterator[Hit]:
    """TensorBoard is asked for, and no folder for its logs.

    What it does
    Looks for `log_with` tensorboard or all without `logging_dir`.

    Why is this bad
    sd-scripts stops: `logging_dir is required when log_with is tensorboard`.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    log_with = "tensorboard"
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    log_with = "tensorboard"
    logging_dir = "logs"
    ```
    """
    theirs = view.theirs
    if theirs.part in ("dataset", "some") or theirs.gui or theirs.has("config_file"):
        return
    if theirs.word("log_with") in ("tensorboard", "all") and not theirs.get("logging_dir"):
        yield theirs.hit(
            f"log_with {theirs.word('log_with')} without logging_dir: sd-scripts stops",
            ("log_with",),
            "set logging_dir",
        )


@_theirs("LL761", "secret-on-command-line", "warning", source=f"{_TU} verify_command_line_training_args")
def secret_on_command_line(view: View) -> Iterator[Hit]:
    """A secret stands on the command line.

    What it does
    Looks for `--wandb_api_key` and `--huggingface_token` with a value.

    Why is this bad
    Weights & Biases stores the command line with the run, for everyone to see who sees the run.

    Bad
    ```sh
    accelerate launch train_network.py --pretrained_model_name_or_path=base --log_with=wandb --wandb_api_key=abc123
    ```

    Good
    ```sh
    accelerate launch train_network.py --pretrained_model_name_or_path=base --log_with=wandb
    ```
    """
    theirs = view.theirs
    if theirs.dialect != "sd-scripts-command":
        return
    for name in ("wandb_api_key", "huggingface_token"):
        if theirs.on(name):
            yield theirs.hit(
                f"--{name} on a command line is stored with the run's records",
                (name,),
                "put it in the environment, or a --config_file",
            )


@_theirs("LL762", "optimizers-exclude-each-other", "error", source=f"{_TU} get_optimizer")
def optimizers_exclude_each_other(view: View) -> Iterator[Hit]:
    """Two optimizers are asked for.

    What it does
    Looks for two of `use_8bit_adam`, `use_lion` (`use_lion_optimizer`) and `optimizer_type`; and for
    `fused_backward_pass`, which is for AdaFactor and whole models.

    Why is this bad
    sd-scripts stops: `both option use_8bit_adam and use_lion_optimizer are specified`.

    Bad
    ```toml
    pretrained_model_name_or_path = "a/base"
    use_8bit_adam = true
    use_lion_optimizer = true
    ```

    Good
    ```toml
    pretrained_model_name_or_path = "a/base"
    optimizer_type = "Lion"
    ```
    """
    theirs = view.theirs
    if theirs.gui:
        return
    named = [name for name in ("use_8bit_adam", "use_lion", "use_lion_optimizer") if theirs.get(name) is True]
    named += ["optimizer_type"] if theirs.on("optimizer_type") else []
    if len(named) > 1 and ("optimizer_type" not in named or theirs.dialect != "own"):
        lists = " and ".join(map(theirs.key, named))
        yield theirs.hit(f"{lists} ask for two optimizers: sd-scripts stops", tuple(named), "keep optimizer_type")
    if theirs.get("fused_backward_pass") is True and theirs.word("optimizer_type") != "adafactor":
        yield theirs.hit(
            "fused_backward_pass is for AdaFactor: sd-scripts stops", ("fused_backward_pass",), "take it out"
        )
