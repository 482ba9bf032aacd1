"""`lora-lab convert`: what it writes, what it says, what it refuses."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lora_lab.cli import group
from lora_lab.config import PARAMETERS, check
from lora_lab.document.compose import WRITERS
from lora_lab.document.conversion import Conversion
from lora_lab.document.dialects import decode_config
from lora_lab.document.effective import effective
from lora_lab.document.to_sd_scripts import to_sd_scripts
from lora_lab.failure import Failure
from lora_lab.lint import lint_document

CASES = Path(__file__).parents[1] / "cases" / "dialects"


def run(*arguments: str | Path) -> Result:
    """Run the command; an exception is a failure of the test, unless it is the user's `Failure`."""
    result = CliRunner().invoke(group, ["convert", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def lora(
    path: Path, metadata: dict[str, str], tensors: tuple[str, ...] = ("lora_unet_a.alpha", "lora_te_a.alpha")
) -> Path:
    """Write a LoRA file with this metadata."""
    about = {name: {"dtype": "F16", "shape": [], "data_offsets": [0, 0]} for name in tensors}
    header = json.dumps({"__metadata__": metadata, **about}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


@pytest.mark.parametrize("suffix", [".json", ".toml", ".yaml"])
def test_to_ours(tmp_path: Path, suffix: str) -> None:
    """A GUI config becomes ours in each of the three formats, with what was assumed and left out on stderr."""
    out = tmp_path / f"out{suffix}"
    result = run(CASES / "kohya-gui.json", "-o", out)
    assert result.stdout == ""
    assert "read as a kohya_ss GUI config" in result.stderr
    values = decode_config(out.read_bytes(), out).values
    assert values["net_dim"] == 16
    assert values["warmup_lr_ratio"] == 0.1
    assert values["num_epochs"] == 5


def test_prints_without_output() -> None:
    """Without -o the config is printed, alone."""
    assert json.loads(run(CASES / "sd-scripts.toml").stdout)["optimizer_args"] == ["weight_decay=0.1"]


def test_never_over_a_file(tmp_path: Path) -> None:
    """A file that is there stays, unless --force says otherwise; nothing else is left behind."""
    out = tmp_path / "out.json"
    out.write_text("mine")
    with pytest.raises(Failure, match="is there already"):
        run(CASES / "kohya-gui.json", "-o", out)
    assert out.read_text() == "mine"
    run(CASES / "kohya-gui.json", "-o", out, "--force")
    assert json.loads(out.read_text())["alpha"] == 8
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("arguments", [("-o", "a.ini"), ("-o", "a.json", "--to", "sd-scripts"), ("--dialect", "x")])
def test_refused(arguments: tuple[str, ...]) -> None:
    """A format or dialect that does not exist is a failure."""
    with pytest.raises(Failure):
        run(CASES / "kohya-gui.json", *arguments)


def test_relative_paths_move(tmp_path: Path) -> None:
    """Paths of our own config are given anew from the new file's folder."""
    (tmp_path / "a").mkdir()
    source = tmp_path / "a" / "c.json"
    source.write_text('{"base_model": "m", "img_folder": "../p", "output_folder": "lora_lab:x"}')
    run(source, "-o", tmp_path / "c.json")
    moved = json.loads((tmp_path / "c.json").read_text())
    assert {key: value.replace("\\", "/") for key, value in moved.items()} == {
        "base_model": "a/m",
        "img_folder": "p",
        "output_folder": "lora_lab:x",
    }


def test_lora_file(tmp_path: Path) -> None:
    """The header of a LoRA gives the settings back, and says what is not in it."""
    path = lora(
        tmp_path / "cat.safetensors",
        {
            "ss_sd_model_name": "anime.safetensors", "ss_network_dim": "16", "ss_network_alpha": "8.0",
            "ss_learning_rate": "0.0001", "ss_unet_lr": "None", "ss_text_encoder_lr": "5e-05",
            "ss_optimizer": "bitsandbytes.optim.adamw.AdamW8bit(weight_decay=0.1,betas=(0.9, 0.99))",
            "ss_resolution": "(512, 768)", "ss_max_train_steps": "900", "ss_seed": "42", "ss_v2": "False",
            "ss_dataset_dirs": '{"10_cat": {"n_repeats": 10, "img_count": 9}}', "ss_clip_skip": "None",
        },
    )  # fmt: skip
    result = run(path, "-o", tmp_path / "c.json")
    values = json.loads((tmp_path / "c.json").read_text())
    assert values == {
        "base_model": "anime.safetensors", "img_folder": "pictures", "output_folder": "output", "net_dim": 16,
        "alpha": 8.0, "learning_rate": 0.0001, "text_encoder_lr": 5e-05, "max_steps": 900,
        "train_resolution": "512,768", "test_seed": 42, "v2": False, "save_precision": "fp16",
        "optimizer_type": "AdamW8bit",
        "optimizer_args": ["weight_decay=0.1", "betas=(0.9, 0.99)"],
    }  # fmt: skip
    assert "10_cat" in result.stderr
    assert "never recorded" in result.stderr


def test_lora_of_the_unet_alone(tmp_path: Path) -> None:
    """Which parts were trained shows in the tensors."""
    path = lora(tmp_path / "a.safetensors", {"ss_network_dim": "4"}, ("lora_unet_x.alpha",))
    assert json.loads(run(path).stdout)["unet_only"] is True


@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 40, b"\x05\0\0\0\0\0\0\0[[[[[", b"\x02\0\0\0\0\0\0\0{}", b"\x02\0\0\0\0\0\0\0[]"]
)
def test_no_lora_file(tmp_path: Path, data: bytes) -> None:
    """A file that is no LoRA, or carries nothing, is a failure in one line."""
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(Failure):
        run(tmp_path / "a.safetensors")


SETTINGS = st.fixed_dictionaries(
    {"base_model": st.just("m"), "img_folder": st.just("i"), "output_folder": st.just("o")},
    optional={
        "net_dim": st.integers(1, 128),
        "alpha": st.floats(0.5, 64),
        "train_resolution": st.sampled_from([512, "512,768", [640, 512]]),
        "max_steps": st.integers(1, 9999),
        "num_epochs": st.integers(1, 99),
        "warmup_lr_ratio": st.floats(0.01, 0.5),
        "lr_warmup_steps": st.integers(0, 99),
        "optimizer_type": st.sampled_from(["AdamW", "Lion", "prodigy"]),
        "optimizer_args": st.sampled_from([["weight_decay=0.1"], {"betas": "0.9,0.99"}, {"d_coef": 2}]),
        "unet_only": st.booleans(),
        "unet_lr": st.floats(1e-6, 1.0),
        "max_clip_token_length": st.sampled_from([75, 150, 225]),
        "buckets": st.booleans(),
        "noise_offset": st.floats(0.0, 1.0),
        "change_output_name": st.text(alphabet='a"é #', min_size=1),
    },
)


@given(SETTINGS)
def test_to_sd_scripts_and_back(values: dict[str, object]) -> None:
    """Ours → sd-scripts' TOML → ours means the same."""
    text, left_out = to_sd_scripts(values)
    back = decode_config(text.encode(), Path("a.toml"), "sd-scripts")
    assert back.origin is not None
    there = effective(Conversion("", Path(), values))
    here = effective(Conversion("", Path(), back.values, back.origin.defaults))
    assert {key: here[key] for key in here if key not in left_out} == {
        key: there[key] for key in there if key not in left_out
    }


WHERE: dict[str, object] = {"base_model": "m", "img_folder": "i", "output_folder": "o"}


def everything() -> st.SearchStrategy[dict[str, object]]:
    """Values for every parameter, by its kind and choices; `check` says which of them are valid."""

    def values(name: str) -> st.SearchStrategy[object]:
        known = PARAMETERS[name]
        if known.kind is bool:
            return st.booleans()
        if known.choices:
            return st.sampled_from(known.choices)
        if known.kind is int:
            return st.integers(0, 2048)
        if known.kind is float:
            return st.floats(0.0, 1.0, allow_subnormal=False)
        return st.sampled_from(["a", "b c", ".txt"])

    return st.fixed_dictionaries(
        {name: st.just(value) for name, value in WHERE.items()},
        optional={name: values(name) for name in PARAMETERS if name not in WHERE},
    )


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(everything())
@example({**WHERE, "network_type": "lokr", "use_tucker": True, "net_dim": 100_000})
def test_every_setting_that_sd_scripts_has(values: dict[str, object]) -> None:
    """Ours → sd-scripts' TOML → ours keeps every setting; what is not kept is on the list of what was left out."""
    values = {key: value for key, value in values.items() if key not in {one.key for one in check(values).problems}}
    text, left_out = to_sd_scripts(values)
    back = decode_config(text.encode(), Path("a.toml"), "sd-scripts")
    assert back.origin is not None
    assert back.problems == ()
    there = effective(Conversion("", Path(), values))
    here = effective(Conversion("", Path(), back.values, back.origin.defaults))
    assert {key: (here[key], there[key]) for key in here if key not in left_out and here[key] != there[key]} == {}


@pytest.mark.parametrize("suffix", [".json", ".toml", ".yaml"])
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(values=everything())
def test_read_write_read(suffix: str, values: dict[str, object]) -> None:
    """What is written in a format reads as the same config, and written again as the same text."""
    text = WRITERS[suffix](values)
    document = decode_config(text.encode(), Path(f"a{suffix}"))
    assert document.problems == ()
    assert document.values == values
    assert WRITERS[suffix](document.values) == text


def test_a_rebuilt_config_lints(tmp_path: Path) -> None:
    """The config of a LoRA's metadata is read by lint as ours, with nothing wrong in its text or values."""
    meta = {
        "ss_network_dim": "16", "ss_network_alpha": "8.0", "ss_learning_rate": "0.0001", "ss_seed": "1",
        "ss_optimizer": "bitsandbytes.optim.adamw.AdamW8bit(weight_decay=0.1)", "ss_resolution": "(512, 768)",
        "ss_lr_scheduler": "cosine_with_restarts", "ss_mixed_precision": "bf16", "ss_max_train_steps": "1000",
        "ss_noise_offset": "0.0", "ss_clip_skip": "None", "ss_network_module": "networks.lora",
    }  # fmt: skip
    out = tmp_path / "config.json"
    said = run(lora(tmp_path / "l.safetensors", meta), "-o", out).stderr
    assert "not recorded" in said
    found = lint_document(decode_config(out.read_bytes(), out), None).findings
    assert [one.code for one in found if one.severity == "error"] == []
    assert run(out, "--to", "sd-scripts").stdout.startswith("network_module")
