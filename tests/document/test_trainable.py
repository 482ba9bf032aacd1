"""Which files a run can be made of, and what is said of the others."""

from pathlib import Path

import pytest

from lora_lab.document.trainable import read_trainable, reading, trainable_values
from lora_lab.failure import Failure

TRAINING = 'pretrained_model_name_or_path = "m"\noutput_dir = "out"\nnetwork_dim = 8\n'
DATA = "[[datasets]]\nresolution = 768\n[[datasets.subsets]]\nimage_dir = '{}'\nnum_repeats = 10\n"


def write(folder: Path, **files: str) -> Path:
    """Write files and return the first one's path; `__` in a name stands for the dot."""
    paths = [folder / name.replace("__", ".") for name in files]
    for path, text in zip(paths, files.values(), strict=True):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return paths[0]


def refused(path: Path, *words: str) -> None:
    """The file is refused with these words."""
    with pytest.raises(Failure) as caught:
        read_trainable(path)
    for word in words:
        assert word in f"{caught.value.what} {caught.value.remedy}"


def test_our_yaml_and_toml(tmp_path: Path) -> None:
    """A file in our keys is read whatever its format, and nothing is said of it."""
    for name, text in (("a__yaml", "net_dim: 8\n"), ("b__toml", "net_dim = 8\n"), ("c__json", '{"net_dim": 8}')):
        path = write(tmp_path, **{name: text})
        document = read_trainable(path)
        assert trainable_values(document) == {"net_dim": 8}
        assert list(reading(path, document)) == []


def test_sd_scripts(tmp_path: Path) -> None:
    """Of a --config_file the values come with what sd-scripts takes for the rest; a line says so, with the command."""
    text = TRAINING + 'train_data_dir = "p"\nfp8_base = true\nwandb_run_name = "x"\n'
    path = write(tmp_path, a__toml=text)
    document = read_trainable(path)
    values = trainable_values(document)
    assert (values["net_dim"], values["alpha"], values["img_folder"], values["max_steps"]) == (8, 1.0, "p", 1600)
    (line,) = reading(path, document)
    assert "an sd-scripts --config_file" in line
    assert "1 setting left out" in line
    assert f"lora-lab convert {path}" in line


def test_data_set_file_stands_in_for_the_folder(tmp_path: Path) -> None:
    """A file whose dataset_config names the pictures is whole without a folder of them."""
    path = write(tmp_path, a__toml=TRAINING + 'dataset_config = "data/d.toml"\n')
    values = read_trainable(path).values
    assert values["dataset_config"] == "data/d.toml"
    assert "img_folder" not in values


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("d__toml", DATA.format("10_cat"), ("what is trained on and not how", "dataset_config names it")),
        ("a__toml", TRAINING, ("does not say train_data_dir",)),
        ("a__sh", f"python train_network.py {' '.join(['--network_dim=$dim', '--output_dir=o', '--seed=1'])}",
         ("not known before", "network_dim")),
        ("a__sh", "accelerate launch train_network.py --config_file x.toml", ("the rest", "--config_file")),
        ("a__toml", TRAINING + 'network_module = "networks.oft"\n', ("networks.oft", "LoHa")),
        ("a__json", '{"LoRA_type": "Flux1", "flux1_checkbox": true, "network_dim": 4}', ("another family",)),
        ("a__json", '{"training_method": "LORA", "base_model_name": "m"}', ("OneTrainer", "single settings")),
        ("a__yaml", "job: extension\nconfig:\n  name: x\n", ("ai-toolkit", "convert")),
    ],
)  # fmt: skip
def test_refused(tmp_path: Path, name: str, text: str, words: tuple[str, ...]) -> None:
    """A part of a run, another family, a program that is only recognised: each is refused in words that help."""
    refused(write(tmp_path, **{name: text}), *words)


def test_no_such_dialect(tmp_path: Path) -> None:
    """A dialect that does not exist is refused with those that do."""
    with pytest.raises(Failure, match="no dialect is called kohya"):
        read_trainable(write(tmp_path, a__json="{}"), "kohya")
