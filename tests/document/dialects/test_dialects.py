"""Each dialect: recognised by its keys, and its settings under our names and in our units."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lora_lab.document import Document, Origin
from lora_lab.document.dialects import DIALECTS, decode_config, read_config
from lora_lab.document.dialects.modules import MODULES
from lora_lab.lint import lint_document

CASES = Path(__file__).parents[2] / "cases" / "dialects"
FILES = sorted(path for path in CASES.iterdir() if path.suffix != ".out")


def read(text: str, name: str) -> tuple[Document, Origin]:
    """Return the document of a text in a file of that name, with its origin."""
    document = decode_config(text.encode(), Path(name))
    assert document.origin is not None
    return document, document.origin


def gui(**values: object) -> tuple[Document, Origin]:
    """Return the document of a GUI config."""
    return read(json.dumps({"LoRA_type": "Standard", "train_batch_size": 1, **values}), "a.json")


def test_there_are_cases() -> None:
    """There is a file for nearly every dialect."""
    assert {path.stem for path in FILES} >= set(DIALECTS) - {"own", "civitai", "simpletuner-data", "diffusion-pipe"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_recognised(path: Path) -> None:
    """A file's dialect is what its name says."""
    origin = read_config(path).origin
    assert (origin.dialect if origin else "easy") == path.stem


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_entries_point_into_the_text(path: Path) -> None:
    """Every setting keeps the place of the key that it was written under."""
    document = read_config(path)
    if document.origin and not document.origin.readable:
        return  # of these only the outermost key is known
    for key, entry in document.entries.items():
        written = document.text[entry.key_span.start : entry.key_span.end].strip("\"'").lstrip("-")
        spelling = document.origin.spellings[key] if document.origin else key
        assert written.split(".")[-1] in (spelling, spelling.removeprefix("--")) or key == "optimizer_args"


def test_every_dialect_has_its_module() -> None:
    """The register names modules that exist."""
    folder = Path(__file__).parents[3] / "lora_lab" / "document" / "dialects"
    assert all((folder / f"{module}.py").is_file() for module in MODULES.values())


def test_gui_conversions() -> None:
    """Numbers in quotes, "" for unset, a percentage, a word for xformers, quoted pairs: as the GUI reads them."""
    document, origin = gui(
        network_dim="16", lr_warmup=10, xformers="sdpa", seed="", learning_rate="1e-4", max_resolution="768,768",
        optimizer_args='"betas=0.9,0.99" weight_decay=0.1', gradient_accumulation_steps=2.0, caption_extension="",
    )  # fmt: skip
    assert document.values == {
        "batch_size": 1, "net_dim": 16, "warmup_lr_ratio": 0.1, "xformers": False, "test_seed": None,
        "learning_rate": 1e-4, "train_resolution": 768, "optimizer_args": ["betas=0.9,0.99", "weight_decay=0.1"],
        "gradient_acc_steps": 2, "caption_extension": ".caption",
    }  # fmt: skip
    assert origin.spellings["net_dim"] == "network_dim"


def test_network_arguments() -> None:
    """What networks.lora takes as network_args are settings here; another network's arguments are not."""
    run = 'pretrained_model_name_or_path = "b"\nnetwork_dim = 8\n'
    plain, origin = read(f'{run}network_args = ["conv_dim=4", "rank_dropout=0.1", "loraplus_lr_ratio=16"]', "a.toml")
    assert plain.values["conv_dim"] == 4
    assert plain.values["conv_alpha"] == 1.0  # sd-scripts' own default
    assert (plain.values["rank_dropout"], plain.values["loraplus_lr_ratio"]) == (0.1, 16.0)
    assert not [one for one in origin.dropped if one.asks]
    more, origin = read(f'{run}network_args = ["conv_dim=4", "conv_alpha=2", "rescaled=1"]', "a.toml")
    assert (more.values["conv_dim"], more.values["conv_alpha"]) == (4, 2.0)
    assert [one.key for one in origin.dropped if one.asks] == ["network_args"]
    blocks = '"down_lr_weight=0,,0.5", "up_lr_weight=sine+0.25", "mid_lr_weight=0", "block_dims=1,2"'
    found, origin = read(f'{run}network_args = ["conv_block_dims=2, 0", {blocks}]', "a.toml")
    assert found.values["down_lr_weight"] == [0, 0, 0.5]  # an empty place is 0 in sd-scripts
    assert (found.values["up_lr_weight"], found.values["mid_lr_weight"]) == ("sine+0.25", 0)
    assert (found.values["block_dims"], found.values["conv_block_dims"]) == ([1, 2], [2, 0])
    assert found.values["conv_alpha"] == 1.0
    assert not [one for one in origin.dropped if one.asks]
    merged, _ = read(
        'pretrained_model_name_or_path = "b"\nbase_weights = ["x", "y"]\nbase_weights_multiplier = [0.5]\n', "a.toml"
    )
    assert merged.values["base_weights_multiplier"] == [0.5, 1.0]  # the rest counts whole in sd-scripts
    command, _ = read("python train_network.py --base_weights x y --base_weights_multiplier 0.5 -1\n", "a.sh")
    assert command.values["base_weights"] == ["x", "y"]
    assert command.values["base_weights_multiplier"] == [0.5, -1]
    idle, origin = read(f'{run}network_args = ["block_alphas=1,2", "conv_block_dims=1,2"]', "a.toml")
    assert not {"block_alphas", "conv_block_dims"} & idle.values.keys()  # sd-scripts wants block_dims beside them
    text = f'{run}network_module = "lycoris.kohya"\nnetwork_args = ["algo=boft", "conv_dim=4"]'
    other, origin = read(text, "a.toml")
    assert "conv_dim" not in other.values
    assert {one.key for one in origin.dropped if one.asks} == {"network_module", "network_args"}
    assert "net_dim" in origin.unknown


LYCORIS = 'pretrained_model_name_or_path = "b"\nnetwork_module = "lycoris.kohya"\nnetwork_dim = 8\nnetwork_alpha = 2\n'
SIZES = {"net_dim": 8, "alpha": 2}


@pytest.mark.parametrize(
    ("given", "wanted", "asks"),
    [
        ('["algo=lokr", "factor=6"]', {"network_type": "lokr", "lokr_factor": 6, "conv_dim": 8, "conv_alpha": 2}, []),
        ('["algo=loha", "preset=attn-mlp"]', {"network_type": "loha"}, []),
        ('["algo=lora", "preset=attn-mlp", "dora_wd=True"]', {"use_dora": True}, []),
        ('["algo=locon", "conv_dim=4", "conv_alpha=1"]', {"conv_dim": 4, "conv_alpha": 1.0}, []),
        ("[]", {"conv_dim": 8, "conv_alpha": 2}, []),
        ('["algo=LoHa", "preset=unet-transformer-only"]', {"network_type": "loha", "unet_only": True}, []),
        ('["algo=loha", "factor=6", "preset=attn-mlp"]', {"network_type": "loha"}, []),
        ('["algo=loha", "train_norm=True", "preset=attn-mlp"]', {"network_type": "loha"}, ["train_norm"]),
        ('["algo=lokr", "full_matrix=True", "conv_dim=4", "conv_alpha=1"]',
         {"network_type": "lokr", "net_dim": 100_000, "conv_dim": 100_000, "conv_alpha": 1.0}, []),
        ('["algo=loha", "use_tucker=True", "conv_dim=4"]',
         {"network_type": "loha", "conv_dim": 4, "conv_alpha": 2, "use_tucker": True}, []),
        ('["preset=attn-only", "use_scalar=False"]', {}, ["preset"]),
        ('["dropout=0.2", "preset=attn-mlp"]', {"network_dropout": 0.2}, []),
    ],
)  # fmt: skip
def test_lycoris(given: str, wanted: dict[str, object], asks: list[str]) -> None:
    """LyCORIS' algorithms, presets and what it takes for what is left out; what is not here is said by its name."""
    document, origin = read(f"{LYCORIS}network_args = {given}", "a.toml")
    assert document.values == {"base_model": "b", **SIZES, **wanted}
    found = [one for one in origin.dropped if one.asks]
    assert [one.reason for one in found] == [f"lora_lab has no {', '.join(asks)}"] * bool(asks)
    assert not origin.unknown


def test_networks_of_sd_scripts() -> None:
    """networks.loha and .lokr are kinds here; whole matrices leave nothing to Tucker; other modules are not here."""
    text = LYCORIS.replace("lycoris.kohya", "networks.lokr")
    document, origin = read(f'{text}network_args = ["factor=4", "conv_dim=2"]', "a.toml")
    wanted = {"network_type": "lokr", "lokr_factor": 4, "conv_dim": 2, "conv_alpha": 1.0}
    assert document.values == {"base_model": "b", **SIZES, **wanted}
    assert origin.spellings["network_type"] == "network_args"
    whole = LYCORIS.replace("network_dim = 8", "network_dim = 100000")
    document, origin = read(f'{whole}network_args = ["algo=lokr", "use_tucker=True"]', "a.toml")
    assert document.values["conv_dim"] == 100_000
    assert not [one for one in origin.dropped if one.asks]
    for module in ("networks.dylora", "networks.oft", "networks.lora_fa", "mine.network"):
        document, origin = read(LYCORIS.replace("lycoris.kohya", module), "a.toml")
        (found,) = [one for one in origin.dropped if one.asks]
        assert (found.key, module in found.reason) == ("network_module", True)
        assert "network_type" not in document.values


def test_gui_networks() -> None:
    """The GUI saves all fields of all networks; those of the chosen one count."""
    saved: dict[str, object] = {
        "network_dim": 16, "network_alpha": 4, "conv_dim": 8, "conv_alpha": 2, "factor": 6, "decompose_both": True,
        "dora_wd": True, "use_tucker": True, "LyCORIS_preset": "full", "unit": 4, "train_on_input": False,
    }  # fmt: skip
    sizes = {"net_dim": 16, "alpha": 4, "conv_dim": 8, "conv_alpha": 2, "use_dora": True}
    lokr, origin = gui(LoRA_type="LyCORIS/LoKr", **saved)
    wanted: dict[str, object] = {
        "network_type": "lokr", "lokr_factor": 6, "decompose_both": True, "use_tucker": True
    }  # fmt: skip
    assert {key: lokr.values.get(key) for key in (*sizes, *wanted)} == sizes | wanted
    assert not [one.key for one in origin.dropped if one.asks]
    old, origin = gui(LoRA_type="LyCORIS/LoHa", **saved | {"use_tucker": False, "use_cp": True})
    assert old.values["use_tucker"] is True
    assert not [one.key for one in origin.dropped if one.asks]
    loha, _ = gui(LoRA_type="LyCORIS/LoHa", **saved)
    assert {key: loha.values.get(key) for key in (*sizes, *wanted)} == sizes | {
        "network_type": "loha", "lokr_factor": None, "decompose_both": None, "use_tucker": True
    }  # fmt: skip
    plain, origin = gui(LoRA_type="Standard", **saved)
    assert not {"network_type", "use_dora", "conv_dim", "lokr_factor", "use_tucker"} & set(plain.values)
    assert not [one for one in origin.dropped if one.asks]
    _, origin = gui(LoRA_type="LyCORIS/iA3", **saved)
    assert "LoRA_type" in [one.key for one in origin.dropped if one.asks]
    _, origin = gui(LoRA_type="LyCORIS/LoKr", **saved | {"LyCORIS_preset": "attn-only"})
    assert "LyCORIS_preset" in [one.key for one in origin.dropped if one.asks]


def test_gui_convolutions() -> None:
    """The GUI saves conv_dim with every network, and passes it on with Kohya LoCon only."""
    assert gui(LoRA_type="Kohya LoCon", conv_dim=8, conv_alpha=4)[0].values["conv_dim"] == 8
    document, origin = gui(conv_dim=8, conv_alpha=4, rank_dropout=0, loraplus_lr_ratio=0)
    assert "conv_dim" not in document.values
    assert document.values["loraplus_lr_ratio"] is None
    assert not [one for one in origin.dropped if one.asks]


def test_gui_noise() -> None:
    """Of the two kinds of noise offset that the GUI saves, the chosen one counts."""
    saved = {"noise_offset": "0.05", "multires_noise_iterations": 8, "multires_noise_discount": 0.2}
    original, _ = gui(noise_offset_type="Original", adaptive_noise_scale=0.005, **saved)
    assert original.values["noise_offset"] == 0.05
    assert original.values["adaptive_noise_scale"] == 0.005
    assert not {"multires_noise_iterations", "multires_noise_discount"} & set(original.values)
    multires, origin = gui(noise_offset_type="Multires", adaptive_noise_scale=0.005, **saved)
    assert multires.values["multires_noise_iterations"] == 8
    assert not {"noise_offset", "adaptive_noise_scale"} & set(multires.values)
    assert not [one for one in origin.dropped if one.asks]


def test_gui_epochs() -> None:
    """`epoch` counts unless steps or max_train_epochs are set."""
    assert gui(epoch="3")[0].values["num_epochs"] == 3
    assert gui(epoch=3, max_train_epochs="5")[0].values["num_epochs"] == 5
    both = gui(epoch=3, max_train_steps="500")[0].values
    assert (both.get("num_epochs"), both["max_steps"]) == (None, 500)


@pytest.mark.parametrize(("unet", "text", "switch"), [(1e-4, 0, "unet_only"), (0, 1e-4, "text_only")])
def test_rate_of_zero(unet: float, text: float, switch: str) -> None:
    """A part whose rate is 0 is not trained."""
    values = gui(unet_lr=unet, text_encoder_lr=text)[0].values
    assert values[switch] is True


def test_epochs_win_in_sd_scripts() -> None:
    """Of epochs and steps sd-scripts takes the epochs; it is said."""
    document, origin = read(
        "pretrained_model_name_or_path = 'a'\nmax_train_steps = 9\nmax_train_epochs = 2\n", "a.toml"
    )
    assert document.values == {"base_model": "a", "num_epochs": 2}
    assert origin.notes == ("max_train_epochs wins over max_train_steps in sd-scripts",)


def test_sd_scripts_defaults() -> None:
    """What the file leaves out is what sd-scripts takes."""
    origin = read("[x]\nnetwork_dim = 8\ntrain_batch_size = 2\n", "a.toml")[1]
    assert (origin.defaults["alpha"], origin.defaults["max_steps"]) == (1.0, 1600)
    assert "net_dim" not in origin.defaults


def test_variables_are_left_open() -> None:
    """What a shell decides is no value."""
    document, origin = read('python train_network.py --network_dim=$dim --seed "7" --lr_warmup_steps 0.1', "a.sh")
    assert document.values == {"test_seed": 7, "warmup_lr_ratio": 0.1}
    assert origin.unknown == {"net_dim"}


def test_abbreviated_and_misspelt_flags() -> None:
    """argparse takes an abbreviation; at a flag that it does not know it stops."""
    document, _ = read("python train_network.py --save_every_n_epoch 2 --men_eff_attn", "a.sh")
    assert document.values == {"save_every_n_epochs": 2}
    assert "did you mean --mem_eff_attn" in document.problems[0].message


def test_flag_twice() -> None:
    """Of a flag that stands twice the earlier one is a duplicate of our key; one that is not ours is none."""
    document, _ = read("python train_network.py --network_dim 1 --network_dim 2 --wrong 1 --wrong 2", "a.sh")
    assert document.values == {"net_dim": 2}
    assert [(one.key, one.value) for one in document.duplicates] == [("net_dim", 1)]
    assert [one.code for one in lint_document(document, None).findings if one.code == "LL007"] == ["LL007"]


def test_script_named_again_and_again() -> None:
    """A script's name in the command of another is a word of it; the first command with flags is read."""
    text = "train_network.py train_network.py " * 9 + "\npython train_network.py --network_dim 4"
    assert read(text, "a.sh")[0].values == {"net_dim": 4}


@pytest.mark.parametrize(
    "text",
    [
        '$args = @(\n  "train_network.py",\n  "--network_dim=16",  # the rank\n  "--seed", "42"\n)\npython @args\n',
        'subprocess.run(["accelerate", "launch", "train_network.py", "--network_dim=16", "--seed=42"], check=True)',
        "!accelerate launch train_network.py \\\n  --network_dim=16 \\\n  --seed=42",
        "accelerate launch train_network.py ^\r\n --network_dim=16 ^\r\n --seed=42\r\npause",
        "accelerate launch train_network.py `\n --network_dim=16 `\n --seed=42\n",
        "python train_network.py --network_dim=16 --seed 42 2>&1 | tee log.txt",
        "python train_network.py --network_dim=16 --seed 42 > log.txt 2>err.txt",
        'docker run x bash -c "accelerate launch train_network.py --network_dim=16 --seed=42"',
    ],
)
def test_ways_to_write_a_command(text: str) -> None:
    """Lists of PowerShell and Python, notebook cells, both Windows shells, redirections: the same two flags."""
    document = read(text, "a.txt")[0]
    assert document.values == {"net_dim": 16, "test_seed": 42}
    assert document.problems == ()


def test_settings_one_level_too_deep() -> None:
    """Settings inside an object are read where they stand, and it is said that no trainer looks for them there."""
    document = decode_config(b'{"name": "x", "config": {"base_model": "a", "net_dim": 8, "alpha": 4}}', Path("a.json"))
    assert document.values == {"base_model": "a", "net_dim": 8, "alpha": 4}
    span = document.entries["net_dim"].value_span
    assert document.text[span.start : span.end] == "8"
    assert 'inside "config"' in document.problems[0].message
    _, origin = read('{"config": {"network_dim": 8, "train_batch_size": 1, "max_train_epochs": 2}}', "a.json")
    assert origin.dialect == "kohya-gui"
    two = '{"a": {"base_model": "a", "net_dim": 8, "alpha": 4}, "b": {"base_model": "a", "net_dim": 8, "alpha": 4}}'
    assert decode_config(two.encode(), Path("a.json")).values.keys() == {"a", "b"}


def test_sections_of_our_yaml() -> None:
    """Sections that hold nothing but settings count as if they were not there, as in TOML."""
    document, origin = read("model:\n  base_model: a\nnetwork:\n  net_dim: 8\n", "a.yaml")
    assert (document.values, origin.dialect) == ({"base_model": "a", "net_dim": 8}, "own")
    assert document.entries["net_dim"].key_span.line == 4


@pytest.mark.parametrize("name", ["a.toml", "a.json", "a.ps1"])
def test_utf16(name: str) -> None:
    """A file as PowerShell's redirection writes it is read, and its encoding said first."""
    text = {
        "a.toml": 'network_dim = 8\npretrained_model_name_or_path = "a"\n',
        "a.json": '{"LoRA_type": "Standard", "network_dim": 8, "pretrained_model_name_or_path": "a"}',
        "a.ps1": "python train_network.py --network_dim 8 --pretrained_model_name_or_path a",
    }[name]
    document = decode_config(text.encode("utf-16"), Path(name))
    assert document.values == {"net_dim": 8, "base_model": "a"}
    assert "UTF-16" in document.problems[0].message


def test_empty_files() -> None:
    """An empty file of any format is said to be empty, or to hold no command."""
    for name in ("a.json", "a.toml", "a.yaml", "a.sh", "a"):
        (problem, *_) = decode_config(b" \n", Path(name)).problems
        assert "empty" in problem.message or "no command line" in problem.message


def test_leaf_folders() -> None:
    """Leaf folders called N_name with N repeats give their parent; others can't be taken over."""
    text = "[[datasets]]\n[[datasets.subsets]]\nimage_dir = '/d/{}'\nnum_repeats = 10\n"
    assert read(text.format("10_cat"), "a.toml")[0].values["img_folder"] == "/d"
    document, origin = read(text.format("cat"), "a.toml")
    assert "img_folder" not in document.values
    assert "img_folder" in origin.unknown


def test_other_network() -> None:
    """The rank of another kind of network is not judged as a LoRA's."""
    origin = gui(LoRA_type="LyCORIS/iA3", network_dim=100000)[1]
    assert "net_dim" in origin.unknown
    assert [one.key for one in origin.dropped if one.asks] == ["LoRA_type"]


def test_named_dialect() -> None:
    """`dialect` overrides what the keys say."""
    document = decode_config(b'{"learning_rate": "1e-4"}', Path("a.json"), "kohya-gui")
    assert document.values == {"learning_rate": 1e-4}


def test_our_json_has_no_origin() -> None:
    """JSON in our keys comes back as it stands, unknown keys and all."""
    document = decode_config(b'{"net_dim": "8", "locon": null}', Path("a.json"))
    assert document.origin is None
    assert document.values == {"net_dim": "8", "locon": None}


@given(st.binary(), st.sampled_from(["a.json", "a.toml", "a.yaml", "a.sh", "a"]), st.sampled_from([None, *DIALECTS]))
def test_any_bytes(data: bytes, name: str, dialect: str | None) -> None:
    """No bytes make the reader raise."""
    assert decode_config(data, Path(name), dialect).entries is not None


KEYS = st.sampled_from(
    ["network_dim", "lr_warmup", "optimizer_args", "max_resolution", "epoch", "seed", "unet_lr", "text_encoder_lr",
     "xformers", "caption_extension", "max_train_steps", "LoRA_type", "network_args", "sdxl", "height_resolution"]
)  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(KEYS, ANYTHING), st.sampled_from(DIALECTS))
def test_any_values(values: dict[str, object], dialect: str) -> None:
    """Known keys with any values, in any dialect: no exception."""
    decode_config(json.dumps(values).encode(), Path("a.json"), dialect)
