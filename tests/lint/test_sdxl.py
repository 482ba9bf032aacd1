"""What lint says of SDXL bases, by their headers alone."""

from pathlib import Path

import pytest

from lora_lab.lint import Disk, lint_values


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder that says that it is SDXL."""
    (tmp_path / "xl" / "unet").mkdir(parents=True)
    (tmp_path / "xl" / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    (tmp_path / "xl" / "unet" / "config.json").write_text('{"cross_attention_dim": 2048, "sample_size": 128}')
    return tmp_path / "xl"


JUDGED: list[tuple[dict[str, object], set[str]]] = [
    ({}, set()),
    ({"train_resolution": 512}, {"LL723"}),
    ({"bucket_reso_steps": 32}, set()),
    ({"bucket_reso_steps": 16}, {"LL604"}),
    ({"net_dim": 512, "alpha": 256.0}, set()),
    ({"net_dim": 700, "alpha": 350.0}, {"LL301"}),
    ({"noise_offset": 0.0357}, set()),
    ({"noise_offset": 0.15}, {"LL732"}),
    ({"noise_offset": 0.3}, {"LL707"}),
    ({"clip_skip": 2}, {"LL728"}),
    ({"v2": True}, {"LL721"}),
    ({"no_half_vae": True}, {"LL002"}),
    ({"sdxl": True, "no_half_vae": False}, {"LL002"}),
    ({"v_parameterization": True, "zero_terminal_snr": True}, set()),
]


@pytest.mark.parametrize(("values", "wanted"), JUDGED, ids=[str(values) for values, _ in JUDGED])
def test_rules_that_know_the_base(base: Path, tmp_path: Path, values: dict[str, object], wanted: set[str]) -> None:
    """Widths, grids and strengths are judged by SDXL's measure, and what it does not read is said."""
    (tmp_path / "pictures" / "10_lumi").mkdir(parents=True)
    paths = {"base_model": str(base), "img_folder": str(tmp_path / "pictures"), "output_folder": str(tmp_path / "out")}
    sizes = {"train_resolution": 1024, "max_bucket_resolution": 2048}
    result = lint_values({**paths, **sizes, **values}, tmp_path, Disk(tmp_path))
    about = {finding.code for finding in result.findings}
    judged = {code for _, codes in JUDGED for code in codes} | {"LL906", "LL706", "LL722"}
    assert about & judged == wanted
