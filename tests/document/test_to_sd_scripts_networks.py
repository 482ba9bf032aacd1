"""Networks written for sd-scripts are read again as what they were."""

from pathlib import Path

import pytest

from lora_lab.config import PARAMETERS
from lora_lab.document.dialects import decode_config
from lora_lab.document.to_sd_scripts import to_sd_scripts

BLOCKS = ("block_dims", "block_alphas", "up_lr_weight", "mid_lr_weight")
KEYS = (
    "network_type",
    *BLOCKS,
    "use_dora",
    "lokr_factor",
    "decompose_both",
    "conv_dim",
    "conv_alpha",
    "net_dim",
    "alpha",
)


@pytest.mark.parametrize(
    "settings",
    [
        {"network_type": "lokr", "net_dim": 100_000, "alpha": 1.0, "lokr_factor": 6, "decompose_both": True},
        {"network_type": "loha", "conv_dim": 4, "conv_alpha": 2.0, "net_dim": 8, "alpha": 4.0},
        {"use_dora": True, "net_dim": 8, "alpha": 4.0},
        {"net_dim": 8, "alpha": 4.0, "conv_dim": 2, "conv_alpha": 1.0},
        {"block_dims": [1] * 25, "block_alphas": [0.5] * 25, "up_lr_weight": "sine+0.1", "mid_lr_weight": 2},
    ],
)
def test_there_and_back(settings: dict[str, object]) -> None:
    """Each network's own settings come back, nothing is left out, and only plain LoRA is networks.lora."""
    written = to_sd_scripts({"base_model": "b", "img_folder": "i", "output_folder": "o", **settings})
    assert not written.left_out
    read = decode_config(written.text.encode(), Path("a.toml"))
    assert read.origin is not None
    assert not [one for one in read.origin.dropped if one.asks]
    found = {key: read.values.get(key, PARAMETERS[key].default) for key in KEYS}
    assert found == {key: settings.get(key, PARAMETERS[key].default) for key in KEYS}
    plain = not {"network_type", "use_dora"} & settings.keys()
    assert ('network_module = "networks.lora"' in written.text) == plain


def test_blocks_of_another_network() -> None:
    """LyCORIS has no settings of blocks: they are left out, and it is said."""
    written = to_sd_scripts({"base_model": "b", "network_type": "loha", "block_dims": [1] * 25})
    assert "block_dims" in written.left_out
    assert "block_dims" not in written.text


def test_merged_files() -> None:
    """One file and one number become the lists that sd-scripts takes, a number for each file."""
    written = to_sd_scripts({"base_model": "b", "base_weights": ["x", "y"], "base_weights_multiplier": 0.5})
    assert 'base_weights = ["x", "y"]' in written.text
    assert "base_weights_multiplier = [0.5, 0.5]" in written.text
    assert 'base_weights = ["x"]' in to_sd_scripts({"base_model": "b", "base_weights": "x"}).text
