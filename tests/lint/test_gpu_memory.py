"""The estimate of memory, against numbers that were counted or are known."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lora_lab.config import TrainConfig
from lora_lab.document.model_header import ModelHeader
from lora_lab.lint import Disk, lint_values
from lora_lab.lint.gpu_memory import FAMILIES, GIB, MIB, adapter_parameters, estimate, family_of, moments
from lora_lab.lint.machine import Machine


def config(**values: object) -> TrainConfig:
    """Return a config with defaults."""
    return TrainConfig(base_model="a", img_folder="b", output_folder="c", **values)  # type: ignore[arg-type]


def test_adapter_parameters() -> None:
    """Parameters per rank as sd-scripts makes them: 589,824 in SD 1, 3,563,008 in SDXL."""
    assert adapter_parameters(config(net_dim=1), FAMILIES["sd1"]) == 589_824
    assert adapter_parameters(config(net_dim=1), FAMILIES["sd2"]) == 856_064
    assert adapter_parameters(config(net_dim=1, conv_dim=1, unet_only=True), FAMILIES["sd1"]) == 1_050_816
    assert adapter_parameters(config(net_dim=1, conv_dim=1, unet_only=True), FAMILIES["sdxl"]) == 3_074_240
    assert adapter_parameters(config(net_dim=2, unet_only=True), FAMILIES["sdxl"]) == 2 * (3_563_008 - 903_168)


@pytest.mark.parametrize(
    ("values", "counted"),
    [
        ({}, 1285),
        ({"batch_size": 4}, 5143),
        ({"train_resolution": 1024}, 5053),
        ({"batch_size": 4, "gradient_checkpointing": True}, 1462),
        ({"mixed_precision": "no"}, 1821),
        ({"mixed_precision": "no", "batch_size": 4}, 7598),
        ({"mixed_precision": "no", "batch_size": 4, "gradient_checkpointing": True}, 2173),
    ],
)
def test_activations_as_counted(values: dict[str, object], counted: int) -> None:
    """MiB of a step of SD 1.x in benchmarks/memory_of_a_step.py, to a tenth."""
    needs = estimate(config(**values), FAMILIES["sd1"])
    assert needs.activations / MIB == pytest.approx(counted, rel=0.1)


def test_base_and_optimizer() -> None:
    """What lies on the card at rest: SD 1.x and its VAE, and 16 bytes for each parameter of the LoRA with AdamW."""
    needs = estimate(config(net_dim=32), FAMILIES["sd1"])
    assert needs.base / MIB == pytest.approx((982.6 * 2 + 83.7 * 4) * 1e6 / MIB, rel=0.01)
    assert needs.adapters == 589_824 * 32 * 16
    assert moments(config(use_8bit_adam=True)) == 2
    assert moments(config(optimizer_type="Lion")) == 4
    assert 4 * GIB < needs.total < 5 * GIB


def test_small_and_unknown_models_are_left_alone() -> None:
    """A model of SD 1.x's kind with a hundredth of its size needs no estimate, nor does one of another family."""
    assert family_of(ModelHeader("diffusers", "sd1", parameters={"unet": 3_000_000})) is None
    assert family_of(ModelHeader("diffusers", "sd1", parameters={"unet": 859_520_964})) is FAMILIES["sd1"]
    assert family_of(ModelHeader("diffusers", "flux")) is None
    assert family_of(None) is None


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ({"batch_size": 8}, "set gradient_checkpointing to true"),
        ({"batch_size": 900_000}, "set gradient_checkpointing to true and batch_size to 12"),
        ({"batch_size": 16, "gradient_checkpointing": True}, "set batch_size to 12"),
        ({"train_resolution": 4096}, "use a lower train_resolution"),
    ],
)
def test_the_remedy_fits(
    values: dict[str, object], remedy: str, described: Callable[[str], Machine], lay_out: Callable[[str], Path]
) -> None:
    """What is advised makes the step fit, and not one picture less than need be."""
    folder = lay_out('sd15/model_index.json: {}\nsd15/unet/config.json: {"cross_attention_dim": 768}')
    machine = described("gpu: NVIDIA GeForce RTX 3070, 8.6, 8192")
    found = lint_values({"base_model": "sd15", **values}, folder, Disk(folder), machine).findings
    (hit,) = (finding for finding in found if finding.code == "LL781")
    assert hit.remedy.startswith(remedy)
    assert "8.0" in hit.message
    for batch, fits in ((12, True), (13, False)):
        needs = estimate(config(batch_size=batch, gradient_checkpointing=True), FAMILIES["sd1"])
        assert (needs.total <= 0.95 * 8 * GIB) is fits


@pytest.mark.parametrize(
    ("values", "files"),
    [
        ({"num_epochs": 50, "save_every_n_epochs": 1}, 50),
        ({"num_epochs": 50, "save_every_n_epochs": 1, "save_last_n_epochs": 3}, 4),
        ({"max_steps": 1000, "save_every_n_steps": 100}, 10),
        ({"num_epochs": 50}, 1),
    ],
)
def test_files_that_are_saved(
    values: dict[str, object], files: int, described: Callable[[str], Machine], lay_out: Callable[[str], Path]
) -> None:
    """On a full disk the message says how many files of which size: rank 128 of SD 1.x in fp16 has 144 MiB."""
    folder = lay_out('sd15/model_index.json: {}\nsd15/unet/config.json: {"cross_attention_dim": 768}')
    values = {"base_model": "sd15", "output_folder": "out", "img_folder": "pictures", "net_dim": 128, **values}
    found = lint_values(values, folder, Disk(folder), described("free: 0")).findings
    (hit,) = (finding for finding in found if finding.code == "LL782")
    assert hit.message.startswith(f"the run saves {files} file(s) of 144 MiB, {files * 144 / 1024:.1f} GiB")
