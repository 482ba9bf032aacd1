"""`check`: every problem at once, never an exception, and a config from what is left."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.config import PARAMETERS, Checked, TrainConfig, check

PATHS = {"base_model": "base", "img_folder": "pictures", "output_folder": "out"}

ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=12)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**400), 2**63, 2**64]),
    st.floats(),
    ANY_TEXT,
    st.sampled_from(["1e-4", "32", "2.0", "1e999", "9" * 5000, "", "true", "512,512", "a=b", "\ud800", "fp32", "1_0"]),
)
JSON_LIKE = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner), max_leaves=5
)
KEYS = st.one_of(
    st.sampled_from(list(PARAMETERS)), ANY_TEXT, st.sampled_from(["use_lion", "lowram", "$schema", "net_dm"])
)


def with_paths(**values: Any) -> Checked:
    """Check the values together with the three required paths."""
    return check({**PATHS, **values})


@given(st.dictionaries(KEYS, JSON_LIKE, max_size=12))
def test_no_mapping_of_json_values_makes_it_raise(values: dict[str, Any]) -> None:
    """Whatever stands in a file, the answer is a config that is valid where nothing was wrong, and whole problems."""
    checked = check(values)
    assert checked.given == set(values) & set(PARAMETERS)
    about = {problem.key for problem in checked.problems}
    about |= {"img_folder"} if "dataset_config" in checked.invalid else set()  # whose stand-in is of no use
    assert checked.invalid <= about
    for problem in checked.problems:
        assert problem.message.encode()
        assert problem.kind == "unknown" or problem.key in checked.invalid
    stood_in_for = {"img_folder"} if checked.config.dataset_config else set()
    for name in set(PARAMETERS) - checked.invalid - checked.given - stood_in_for:
        assert getattr(checked.config, name) == PARAMETERS[name].default
    assert checked.invalid or TrainConfig.model_validate(checked.config.model_dump()) == checked.config


@given(st.sampled_from(list(PARAMETERS)), JSON_LIKE)
def test_a_suggestion_is_always_valid(name: str, value: Any) -> None:
    """The value that a problem suggests has no problem itself."""
    for problem in with_paths(**{name: value}).problems:
        if problem.suggestion is not None:
            assert with_paths(**{name: problem.suggestion}).problems == ()


BORDERS = {
    "caption_dropout_rate": (-1e-9, 0.0, 1.0, 1.000001),
    "caption_tag_dropout_rate": (-0.1, 0, 1, 1.1),
    "caption_dropout_every_n_epochs": (0, 1, 10**9, 10**9 + 1),
    "net_dim": (0, 1, 100_000, 100_001),
    "alpha": (-0.5, 0.0, 1e6, float("inf")),
    "cosine_restarts": (0, 1, 50, None),
    "scheduler_power": (0.0, 1e-3, 9.0, float("nan")),
    "warmup_lr_ratio": (-0.01, 0.0, 0.999, 1.0),
    "lr_warmup_steps": (-1, 0, 500, None),
    "learning_rate": (0.0, 1e-12, 1, float("inf")),
    "text_encoder_lr": (0, 1e-12, 1.0, float("inf")),
    "unet_lr": (0.0, 1e-12, 1.0, float("-inf")),
    "num_workers": (-1, 0, 1024, 1025),
    "batch_size": (0, 1, 512, None),
    "num_epochs": (0, 1, 512, None),
    "max_steps": (0, 1, 10**9, 10**9 + 1),
    "save_every_n_epochs": (0, 1, 5, None),
    "save_every_n_steps": (-1, 1, 5, None),
    "save_last_n_epochs": (0, 1, 5, None),
    "sample_every_n_epochs": (0, 1, 5, None),
    "sample_every_n_steps": (0, 1, 5, None),
    "keep_tokens": (-1, 0, 255, None),
    "train_resolution": (63, 64, 8192, 8193),
    "min_bucket_resolution": (63, 64, 8192, 8193),
    "max_bucket_resolution": (63, 64, 8192, 8193),
    "bucket_reso_steps": (4, 8, 1024, 1032),
    "clip_skip": (0, 1, 23, 24),
    "test_seed": (-1, 0, 2**32 - 1, 2**32),
    "validation_seed": (-1, 0, 2**32 - 1, 2**32),
    "prior_loss_weight": (-0.1, 0.0, 10.0, None),
    "gradient_acc_steps": (0, 1, 64, None),
    "max_grad_norm": (-1.0, 0.0, 10.0, None),
    "noise_offset": (-0.1, 0.0, 1.0, 1.1),
    "min_snr_gamma": (-1.0, 0.0, 20.0, None),
    "validation_split": (-0.1, 0.0, 0.99, 1.0),
    "scale_weight_norms": (-1.0, 0.0, 5.0, None),
    "network_dropout": (-0.1, 0.0, 0.99, 1.0),
    "adaptive_noise_scale": (-1.1, -1.0, 1.0, 1.1),
    "multires_noise_iterations": (-1, 0, 100, 101),
    "multires_noise_discount": (-0.1, 0.0, 1.0, 1.1),
    "ip_noise_gamma": (-0.1, 0.0, 1.0, 1.1),
    "v_pred_like_loss": (-0.1, 0.0, 5.0, None),
    "huber_c": (0.0, 1e-3, 1.0, 1.1),
    "huber_scale": (0.0, 1e-3, 10.0, None),
    "conv_dim": (0, 1, 100_000, 100_001),
    "conv_alpha": (-0.5, 0.0, 1e6, float("inf")),
    "token_warmup_min": (-1, 0, 100, None),
    "token_warmup_step": (-0.1, 0.0, 500.0, None),
    "ema_decay": (0.0, 1e-3, 0.9999, 1.0),
    "block_lr_zero_threshold": (-0.5, 0.0, 1e6, 2e6),
    "rank_dropout": (-0.1, 0.0, 0.99, 1.0),
    "module_dropout": (-0.1, 0.0, 0.99, 1.0),
    "lokr_factor": (-2, -1, 100_000, 100_001),
    "loraplus_lr_ratio": (0.0, 1e-3, 16.0, None),
    "loraplus_unet_lr_ratio": (0.0, 1e-3, 16.0, None),
    "loraplus_text_encoder_lr_ratio": (0.0, 1e-3, 16.0, None),
    "min_timestep": (-1, 0, 999, 1000),
    "max_timestep": (0, 1, 1000, 1001),
}
"""key: just too low, lowest, a high one, just too high."""


@pytest.mark.parametrize("name", BORDERS)
def test_limits_hold_exactly_at_the_border(name: str) -> None:
    """The lowest and a high value pass and arrive; what is beyond is a `range` problem and the default stays."""
    too_low, lowest, highest, too_high = BORDERS[name]
    for value in (lowest, highest):
        checked = with_paths(**{name: value})
        assert checked.problems == ()
        assert getattr(checked.config, name) == value
    for value in (too_low, too_high):
        if value is not None:
            checked = with_paths(**{name: value})
            assert [(one.key, one.kind, one.value is value) for one in checked.problems] == [(name, "range", True)]
            assert checked.invalid == {name}
            assert getattr(checked.config, name) == PARAMETERS[name].default


def test_every_number_has_a_border_test() -> None:
    """No numeric key is missing from the table above."""
    numeric = {name for name, known in PARAMETERS.items() if known.kind in (int, float) and not known.choices}
    assert numeric | {"train_resolution"} == set(BORDERS)


@pytest.mark.parametrize("name", BORDERS)
@pytest.mark.parametrize("switch", [True, False])
def test_a_switch_is_no_number(name: str, switch: bool) -> None:
    """true and false are refused wherever a number belongs."""
    assert [(one.key, one.kind) for one in with_paths(**{name: switch}).problems] == [(name, "type")]


@pytest.mark.parametrize(
    ("name", "value", "suggestion"),
    [
        ("net_dim", "32", 32),
        ("net_dim", "2.0", 2),
        ("net_dim", 12.5, None),
        ("batch_size", 2.0, 2),
        ("max_clip_token_length", 75.0, 75),
        ("max_clip_token_length", "150", 150),
        ("max_clip_token_length", True, None),
        ("learning_rate", "1e-4", 0.0001),
        ("learning_rate", "", None),
        ("alpha", "sixteen", None),
        ("buckets", "true", True),
        ("buckets", "False", False),
        ("buckets", 1, True),
        ("buckets", 0, False),
        ("clip_skip", True, None),
        ("mixed_precision", True, None),
        ("change_output_name", 5, "5"),
        ("sample_prompts", ["a", 1], None),
        ("json_load_skip_list", "net_dim", ["net_dim"]),
        ("train_resolution", "512", 512),
        ("train_resolution", 512.0, 512),
        ("train_resolution", " 512 , 768", "512,768"),
        ("train_resolution", [512, 512, 512], None),
        ("optimizer_args", "weight_decay=0.1 betas=0.9,0.99", ["weight_decay=0.1", "betas=0.9,0.99"]),
        ("optimizer_args", ["weight_decay"], None),
    ],
)
def test_a_wrong_type_comes_with_what_was_meant(name: str, value: object, suggestion: object) -> None:
    """A value of another type is never converted; where its meaning is plain, it is suggested."""
    (problem,) = with_paths(**{name: value}).problems
    assert (problem.kind, problem.suggestion) == ("type", suggestion)
    assert type(problem.suggestion) is type(suggestion)


@pytest.mark.parametrize(
    ("name", "value", "suggestion"),
    [
        ("scheduler", "Cosine", "cosine"),
        ("scheduler", "cosin_with_restarts", "cosine_with_restarts"),
        ("mixed_precision", "fp32", "no"),
        ("save_precision", "fp32", "float"),
        ("save_as", "diffusers", None),
        ("optimizer_type", "adam8bit", "AdamW8bit"),
        ("max_clip_token_length", 77, None),
        ("loss_type", "mse", "l2"),
    ],
)
def test_a_wrong_choice_comes_with_the_nearest(name: str, value: object, suggestion: object) -> None:
    """A word that is no choice is a `choice` problem with the choice that was meant."""
    (problem,) = with_paths(**{name: value}).problems
    assert (problem.kind, problem.suggestion) == ("choice", suggestion)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("network_dim", "net_dim"),
        ("train_batch_size", "batch_size"),
        ("noise_ofset", "noise_offset"),
        ("Learning_Rate", "learning_rate"),
        ("net-dim", "net_dim"),
        ("resolution", "train_resolution"),
        ("seed", "test_seed"),
        ("completely_different", None),
    ],
)
def test_unknown_keys_come_with_the_key_that_was_meant(word: str, meant: str | None) -> None:
    """Another tool's name and a slip of the hand both lead to the key; a strange word leads nowhere."""
    (problem,) = with_paths(**{word: 1}).problems
    assert (problem.key, problem.kind, problem.suggestion) == (word, "unknown", meant)
    assert (meant or "unknown key") in problem.message


def test_a_percentage_is_not_passed_off_as_a_ratio() -> None:
    """The GUI's lr_warmup is in percent, and the message says so."""
    (problem,) = with_paths(lr_warmup=10).problems
    assert problem.suggestion == "warmup_lr_ratio"
    assert "percentage" in problem.message
    (problem,) = with_paths(epoch=10).problems
    assert problem.message == 'unknown key "epoch", did you mean num_epochs? (max_steps wins over it here)'


@pytest.mark.parametrize("word", ["network_args", "network_module", "lr_scheduler_type", "LoRA_type"])
def test_another_tools_feature_is_no_slip_of_the_hand(word: str) -> None:
    """A real key of another tool that has no counterpart is not taken for the key that is spelt most like it."""
    (problem,) = with_paths(**{word: "x"}).problems
    assert (problem.kind, problem.suggestion) == ("unknown", None)
    assert "other tools have it" in problem.message


def test_leftovers_of_old_files_are_accepted_where_they_do_nothing() -> None:
    """The phantom key and switched-off features pass silently; a switched-on one says what to use instead."""
    assert with_paths(list_of_json_to_run=None, use_lion=False, lowram=None, **{"$schema": "x.json"}).problems == ()
    lion, lowram = with_paths(use_lion=True, lowram=True).problems
    assert (lion.kind, lowram.kind) == ("unknown", "unknown")
    assert "optimizer_type" in lion.message
    assert "gradient_checkpointing" in lowram.message
    vae, family = with_paths(no_half_vae=True, sdxl=True).problems
    assert vae.message == "no_half_vae is not needed: the VAE always computes in 32 bits here"
    assert "read from the base itself" in family.message
    assert with_paths(no_half_vae=False, sdxl=None).problems == ()


def test_everything_is_said_at_once_in_the_order_of_the_file() -> None:
    """Problems of all kinds come together, missing keys last, and the valid values are in the config."""
    checked = check({"base_model": "m", "net_dim": 0, "nett": 1, "save_as": "zip", "alpha": "8", "batch_size": 4})
    assert [(one.key, one.kind) for one in checked.problems] == [
        ("net_dim", "range"),
        ("nett", "unknown"),
        ("save_as", "choice"),
        ("alpha", "type"),
        ("img_folder", "missing"),
        ("output_folder", "missing"),
    ]
    assert (checked.config.base_model, checked.config.batch_size, checked.config.net_dim) == ("m", 4, 32)
    assert checked.config.img_folder == ""


def test_null_is_the_default_except_where_it_has_a_meaning() -> None:
    """null leaves an optional key at its default; for alpha it means equal to the rank; required keys refuse it."""
    nulls = dict.fromkeys(PARAMETERS)
    checked = check(nulls)
    assert {one.key for one in checked.problems} == set(PATHS)
    assert all("null" in one.message for one in checked.problems)
    checked = check({**nulls, **PATHS})
    assert checked.problems == ()
    assert checked.config == check({**PATHS, "alpha": 0}).config


def test_whole_numbers_count_as_numbers() -> None:
    """JSON's 1 is taken where a fraction is possible, and becomes a float."""
    checked = with_paths(alpha=64, learning_rate=1)
    assert checked.problems == ()
    assert (type(checked.config.alpha), type(checked.config.learning_rate)) == (float, float)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b"])
def test_an_output_name_is_a_file_name(name: str) -> None:
    """What would leave the output folder is refused."""
    assert [one.kind for one in with_paths(change_output_name=name).problems] == ["range"]


def test_a_config_cannot_be_changed() -> None:
    """The model is frozen and knows no other keys."""
    config = with_paths().config
    with pytest.raises(ValueError, match="frozen"):
        config.net_dim = 8  # type: ignore[misc]
    with pytest.raises(ValueError, match="extra_forbidden"):
        TrainConfig.model_validate({**PATHS, "unknown": 1})
