"""A value for every parameter, drawn from its definition: a new parameter is drawn without being named here."""

import importlib.util
import math
from typing import Any, Final

from hypothesis import strategies as st

from lora_lab.config import OPTIMIZERS, PARAMETERS, Parameter

Values = dict[str, Any]

PACKAGES: Final = {
    "bitsandbytes": ("AdamW8bit", "Lion8bit", "SGDNesterov8bit", "PagedAdamW8bit", "PagedLion8bit", "PagedAdamW"),
    "prodigyopt": ("Prodigy",),
    "dadaptation": ("DAdaptation", "DAdaptAdam", "DAdaptAdaGrad", "DAdaptAdan", "DAdaptLion", "DAdaptSGD"),
    "lion_pytorch": ("Lion",),
    "schedulefree": ("AdamWScheduleFree", "SGDScheduleFree", "RAdamScheduleFree"),
}
"""Optimizers that need a package, which may not be installed."""

SET_BY_THE_SCENE: Final = frozenset(
    [
        *("base_model", "img_folder", "output_folder", "dataset_config", "max_steps", "load_previous_save_state"),
        *("v2", "v_parameterization", "save_every_n_steps", "save_state", "save_as"),
    ]
)
"""What the place of a run decides, or what the trial of a config sets itself."""

NOT_OF_A_RUN: Final = frozenset(
    [
        *("save_json_only", "save_json_folder", "load_json_path", "json_load_skip_list", "multi_run_folder"),
        *("log_dir", "vae", "change_output_name", "persistent_workers", "num_workers"),
    ]
)
"""What other programs than the trainer read, and what costs a process for each try."""


def optimizers() -> st.SearchStrategy[str]:
    """Return the optimizers that this machine has, without those for GPUs."""
    missing = {name for package, names in PACKAGES.items() if not importlib.util.find_spec(package) for name in names}
    paged = {name for name in OPTIMIZERS if "8bit" in name or name.startswith("Paged")}
    return st.sampled_from(sorted(set(OPTIMIZERS) - missing - paged))


_RATES = st.sampled_from([1e-5, 1e-4, 1e-3])
_WORDS = st.sampled_from(["lumi,", ", a drawing", "a b c"])
SPECIAL: Final[dict[str, st.SearchStrategy[Any]]] = {
    "learning_rate": _RATES,
    "unet_lr": _RATES,
    "text_encoder_lr": _RATES,
    "net_dim": st.integers(1, 9),
    "conv_dim": st.integers(1, 5),
    "clip_skip": st.integers(1, 3),
    "batch_size": st.integers(1, 3),
    "gradient_acc_steps": st.integers(1, 3),
    "lokr_factor": st.sampled_from([-1, 2, 4, 8]),
    "train_resolution": st.sampled_from([64, 96, 128, "64,128", [128, 64]]),
    "min_bucket_resolution": st.just(64),
    "max_bucket_resolution": st.sampled_from([128, 192]),
    "bucket_reso_steps": st.sampled_from([8, 16, 32, 64]),
    "test_seed": st.integers(0, 2**32 - 1),
    "validation_seed": st.integers(0, 5),
    "validation_split": st.sampled_from([0.0, 0.2, 0.5]),
    "token_warmup_step": st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    "multires_noise_iterations": st.integers(1, 8),
    "optimizer_type": optimizers(),
    "optimizer_args": st.sampled_from([["weight_decay=0.1"], {"weight_decay": 0.01}]),
    "training_comment": _WORDS,
    "caption_prefix": _WORDS,
    "caption_suffix": _WORDS,
    "keep_tokens_separator": st.just("|||"),
    "secondary_separator": st.just(";;;"),
    "caption_extension": st.sampled_from([".txt", ".caption"]),
    "sample_prompts": st.just(["lumi --w 64 --h 64 --s 1 --d 1"]),
    "sample_every_n_steps": st.integers(1, 2),
    "sample_every_n_epochs": st.just(1),
    "down_lr_weight": st.sampled_from(["cosine", "sine+0.2", "reverse_linear"]),
    "up_lr_weight": st.sampled_from(["linear", "zeros", "sine"]),
    "mid_lr_weight": st.sampled_from([0.0, 0.5, 1.0]),
    "base_weights_multiplier": st.sampled_from([0.5, 1.0, -1.0]),
    "max_timestep": st.integers(500, 1000),
    "min_timestep": st.integers(0, 499),
}
"""Where the whole range would ask for more than a try has: big networks, long runs, other packages, files."""


def strategy(known: Parameter) -> st.SearchStrategy[Any] | None:
    """Return the values of a parameter; None where it has none to draw."""
    if known.name in SET_BY_THE_SCENE | NOT_OF_A_RUN:
        return None
    found = SPECIAL[known.name] if known.name in SPECIAL else _of_kind(known)
    return st.none() | found if found is not None and known.nullable else found


def _of_kind(known: Parameter) -> st.SearchStrategy[Any] | None:
    if known.choices:
        return st.sampled_from(known.choices)
    if known.kind is bool:
        return st.booleans()
    if known.kind is int:
        low = int(known.minimum or 0)
        return st.integers(low, int(min(known.maximum or math.inf, low + 10)))
    if known.kind is float:
        low, high = known.minimum or 0.0, min(1.0 if known.maximum is None else known.maximum, 1.0)
        steps = st.integers(0, 20).map(lambda step: round(low + (high - low) * step / 20, 6))
        inside = (known.exclusive_minimum and low) or None, (known.exclusive_maximum and high) or None
        limited = steps.filter(lambda value: value not in inside)
        return limited.filter(lambda value: value > low) if known.exclusive_minimum else limited
    return None


STRATEGIES: Final = {name: found for name, known in PARAMETERS.items() if (found := strategy(known)) is not None}
"""What is drawn, by key."""

OUT_OF_REACH: Final = frozenset(PARAMETERS) - STRATEGIES.keys() - SET_BY_THE_SCENE - NOT_OF_A_RUN
"""Keys whose kind of value is drawn nowhere: `drawing.scene` sets them by the base, or they are missing."""
