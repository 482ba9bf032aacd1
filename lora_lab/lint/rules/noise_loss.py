"""LL74x: noise and loss."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from lora_lab.config import TrainConfig
from lora_lab.lint.finding import removed
from lora_lab.lint.rule import OURS, Hit, View, rule

_NOISE = "sd-scripts library/train_util.py get_noise_noisy_latents_and_timesteps"
_VERIFY = "sd-scripts library/train_util.py verify_training_args"
_HUBER = "sd-scripts library/train_util.py get_huber_threshold_if_needed"


class _Refines(NamedTuple):
    """Keys that do nothing while something else is off, and what to set then."""

    keys: tuple[str, ...]
    of: str
    works: Callable[[TrainConfig], bool]
    without: str


def _is_huber(config: TrainConfig) -> bool:
    return config.loss_type in ("huber", "smooth_l1")


_REFINES = (
    _Refines(
        ("noise_offset_random_strength", "adaptive_noise_scale"),
        "noise_offset",
        lambda config: bool(config.noise_offset),
        "without noise_offset",
    ),
    _Refines(
        ("multires_noise_discount",),
        "multires_noise_iterations",
        lambda config: bool(config.multires_noise_iterations),
        "without multires_noise_iterations",
    ),
    _Refines(
        ("ip_noise_gamma_random_strength",),
        "ip_noise_gamma",
        lambda config: bool(config.ip_noise_gamma),
        "without ip_noise_gamma",
    ),
    _Refines(("huber_c", "huber_schedule"), "loss_type", _is_huber, "with a loss_type that is not huber or smooth_l1"),
    _Refines(
        ("huber_scale",),
        "huber_schedule",
        lambda config: _is_huber(config) and config.huber_schedule != "snr",
        "unless loss_type is huber or smooth_l1 and huber_schedule exponential or constant",
    ),
)
_REFINING = tuple(key for row in _REFINES for key in row.keys)


@rule(
    "LL741",
    "noise-or-loss-refinement-without-effect",
    "warning",
    reads=(*_REFINING, "noise_offset", "multires_noise_iterations", "ip_noise_gamma", "loss_type"),
    source=f"{_NOISE}; {_HUBER}",
    idle=_REFINING,
    targets=OURS,
)
def refinement_without_effect(view: View) -> Iterator[Hit]:
    """A setting refines another one that is off.

    What it does
    Looks for other values than the default in the settings that refine `noise_offset`, `multires_noise_iterations`,
    `ip_noise_gamma` or the huber losses, where those are not used.

    Why is this bad
    It has no effect: either it can go, or what it refines was forgotten.

    Bad
    ```json
    {"multires_noise_discount": 0.2}
    ```

    Good
    ```json
    {"multires_noise_discount": 0.2, "multires_noise_iterations": 6}
    ```
    """
    defaults = TrainConfig.model_fields
    for row in _REFINES:
        for key in row.keys:
            idle = key in view.given and getattr(view.config, key) not in (defaults[key].default, 0, False)
            if idle and not row.works(view.config):
                message = f"{key} has no effect {row.without}"
                yield Hit(message, (key, row.of), f"set {row.of}, or leave it out", removed(key))


@rule(
    "LL742",
    "two-low-frequency-noises",
    "warning",
    reads=("noise_offset", "multires_noise_iterations"),
    source=_NOISE,
    targets=OURS,
)
def two_low_frequency_noises(view: View) -> Iterator[Hit]:
    """Offset noise and pyramid noise are both on.

    What it does
    Looks for `noise_offset` together with `multires_noise_iterations`.

    Why is this bad
    Both make large areas of light and dark learnable; added together contrast gets harsh. sd-scripts refused the two
    for a time.

    Bad
    ```json
    {"noise_offset": 0.05, "multires_noise_iterations": 6}
    ```

    Good
    ```json
    {"multires_noise_iterations": 6}
    ```
    """
    if view.config.noise_offset and view.config.multires_noise_iterations:
        message = "noise_offset and multires_noise_iterations both add noise of low frequency"
        keys = ("noise_offset", "multires_noise_iterations")
        yield Hit(message, keys, "use one of them", removed("noise_offset", safe=False))


@rule(
    "LL743",
    "two-timestep-weights",
    "warning",
    reads=("min_snr_gamma", "debiased_estimation_loss"),
    source="sd-scripts train_network.py post_process_loss",
    targets=OURS,
)
def two_timestep_weights(view: View) -> Iterator[Hit]:
    """Two weights of the timesteps are multiplied.

    What it does
    Looks for `min_snr_gamma` together with `debiased_estimation_loss`.

    Why is this bad
    Each is a whole answer to the question how much a timestep should count; their product is neither, and counts the
    noisiest pictures twice.

    Bad
    ```json
    {"min_snr_gamma": 5, "debiased_estimation_loss": true}
    ```

    Good
    ```json
    {"min_snr_gamma": 5}
    ```
    """
    if view.config.min_snr_gamma and view.config.debiased_estimation_loss:
        message = "min_snr_gamma and debiased_estimation_loss are multiplied"
        keys = ("debiased_estimation_loss", "min_snr_gamma")
        yield Hit(message, keys, "use one of them", removed("debiased_estimation_loss", safe=False))


@rule(
    "LL744",
    "no-timesteps-left",
    "error",
    reads=("min_timestep", "max_timestep"),
    source="sd-scripts library/train_util.py get_timesteps",
    targets=OURS,
)
def no_timesteps_left(view: View) -> Iterator[Hit]:
    """The smallest timestep is not below the largest.

    What it does
    Compares `min_timestep` with `max_timestep`, which itself is no longer trained.

    Why is this bad
    No timestep is left to train; the run stops at its start. sd-scripts trains `max_timestep` alone or crashes.

    Bad
    ```json
    {"min_timestep": 500, "max_timestep": 300}
    ```

    Good
    ```json
    {"min_timestep": 300, "max_timestep": 500}
    ```
    """
    low, high = view.config.min_timestep, view.config.max_timestep
    if low >= high:
        message = f"min_timestep {low} is not below max_timestep {high}"
        yield Hit(message, ("min_timestep", "max_timestep"), "leave both out to train all 1000")


@rule(
    "LL745",
    "loss-for-other-prediction",
    "error",
    reads=("scale_v_pred_loss_like_noise_pred", "v_pred_like_loss", "v_parameterization"),
    source=_VERIFY,
    targets=OURS,
)
def loss_for_other_prediction(view: View) -> Iterator[Hit]:
    """A weight of the loss is for models that predict something else.

    What it does
    Looks for `scale_v_pred_loss_like_noise_pred` without `v_parameterization`, and for `v_pred_like_loss` with it.

    Why is this bad
    The first corrects the loss of velocity prediction, the second that of noise prediction; elsewhere they would
    distort it, and the run is refused.

    Bad
    ```json
    {"v_pred_like_loss": 0.5, "v_parameterization": true}
    ```

    Good
    ```json
    {"scale_v_pred_loss_like_noise_pred": true, "v_parameterization": true}
    ```
    """
    config = view.config
    if config.scale_v_pred_loss_like_noise_pred and not config.v_parameterization:
        key, what = "scale_v_pred_loss_like_noise_pred", "without"
    elif config.v_pred_like_loss and config.v_parameterization:
        key, what = "v_pred_like_loss", "with"
    else:
        return
    message = f"{key} can't be used {what} v_parameterization"
    yield Hit(message, (key, "v_parameterization"), "leave it out", removed(key, safe=False))


@rule(
    "LL746",
    "input-perturbation-high",
    "warning",
    reads=("ip_noise_gamma",),
    source="arXiv:2301.11706",
)
def input_perturbation_high(view: View) -> Iterator[Hit]:
    """The input perturbation is strong.

    What it does
    Looks for `ip_noise_gamma` above 0.3; the paper uses 0.1.

    Why is this bad
    The model is taught to leave that noise in the picture, which blurs or roughens detail.

    Bad
    ```json
    {"ip_noise_gamma": 0.6}
    ```

    Good
    ```json
    {"ip_noise_gamma": 0.1}
    ```
    """
    if (view.config.ip_noise_gamma or 0.0) > 0.3:
        message = f"ip_noise_gamma {view.config.ip_noise_gamma:g} leaves much noise that is never to be predicted"
        yield Hit(message, ("ip_noise_gamma",), "use 0.1", removed("ip_noise_gamma", safe=False))


@rule(
    "LL747",
    "zero-terminal-snr-without-v",
    "warning",
    reads=("zero_terminal_snr", "v_parameterization"),
    source="arXiv:2305.08891 section 3.2",
    targets=OURS,
)
def zero_terminal_snr_without_v(view: View) -> Iterator[Hit]:
    """The noise schedule ends in pure noise, and the base predicts noise.

    What it does
    Looks for `zero_terminal_snr` without `v_parameterization`.

    Why is this bad
    Where nothing but noise is left, predicting it is copying the input: nothing is learned of the picture there, and
    all other steps are noisier than those that the base knows.

    Bad
    ```json
    {"zero_terminal_snr": true}
    ```

    Good
    ```json
    {"zero_terminal_snr": true, "v_parameterization": true}
    ```
    """
    if view.config.zero_terminal_snr and not view.config.v_parameterization:
        message = "zero_terminal_snr is for bases that predict velocity (v)"
        keys = ("zero_terminal_snr", "v_parameterization")
        yield Hit(message, keys, "leave it out", removed("zero_terminal_snr", safe=False))
