"""Paths of a config file."""

import shlex
from pathlib import Path

import pytest

import lora_lab
from lora_lab.config import TrainConfig, quoted, resolve_path, with_absolute_paths

PACKAGE = Path(lora_lab.__file__).resolve().parent


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a home folder of its own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    return tmp_path / "home"


def test_relative_paths_start_at_the_config(tmp_path: Path) -> None:
    """A relative path is relative to the folder of the file that it stands in, an absolute one stays."""
    assert resolve_path("data/pictures", tmp_path) == tmp_path / "data" / "pictures"
    assert resolve_path(str(tmp_path / "x"), Path("/elsewhere")) == tmp_path / "x"


def test_a_relative_folder_gives_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The config's folder itself may be relative to where the command runs."""
    monkeypatch.chdir(tmp_path)
    assert resolve_path("a", Path("configs")) == tmp_path / "configs" / "a"


def test_the_home_folder(home: Path, tmp_path: Path) -> None:
    """~ is the home folder; the name of a user who does not exist is just a name."""
    assert resolve_path("~/models/x", tmp_path) == home / "models" / "x"
    assert resolve_path("~no-such-user-here/x", tmp_path) == tmp_path / "~no-such-user-here" / "x"


def test_paths_inside_the_package(tmp_path: Path) -> None:
    """The scheme names what is installed with lora_lab, wherever the config lies."""
    assert resolve_path("lora_lab:quickstart/base", tmp_path) == PACKAGE / "quickstart" / "base"
    assert resolve_path("lora_lab:failure.py", tmp_path).is_file()


def test_the_quickstart_grid_is_found_in_a_checkout(tmp_path: Path) -> None:
    """The grid is a copy in the installed package and an experiment in a checkout."""
    grid = resolve_path("lora_lab:quickstart/quickstart.yaml", tmp_path)
    assert grid in (PACKAGE / "quickstart" / "quickstart.yaml", PACKAGE.parent / "experiments" / "quickstart.yaml")


def test_all_paths_of_a_config_become_absolute(tmp_path: Path) -> None:
    """Every path is resolved, anything else and what is not set stays."""
    config = TrainConfig.model_validate(
        {
            "base_model": "lora_lab:quickstart/base",
            "img_folder": "pictures",
            "output_folder": "/out",
            "vae": "vae.safetensors",
            "sample_prompts": "prompts.txt",
            "training_comment": "pictures",
        }
    )
    absolute = with_absolute_paths(config, tmp_path)
    changed = {name for name in TrainConfig.model_fields if getattr(absolute, name) != getattr(config, name)}
    assert changed == {"base_model", "img_folder", "vae", "sample_prompts"}
    assert absolute.base_model == str(PACKAGE / "quickstart" / "base")
    assert absolute.img_folder == str(tmp_path / "pictures")
    assert absolute.sample_prompts == str(tmp_path / "prompts.txt")
    assert with_absolute_paths(absolute, Path("/other")) == absolute


def test_prompts_and_empty_paths_are_left_alone(tmp_path: Path) -> None:
    """A list of prompts holds no paths, and a missing path does not become the folder itself."""
    config = TrainConfig.model_validate(
        {"base_model": "b", "img_folder": "i", "output_folder": "o", "sample_prompts": ["a cat", "a dog"]}
    )
    config = config.model_copy(update={"img_folder": ""})
    absolute = with_absolute_paths(config, tmp_path)
    assert absolute.sample_prompts == ["a cat", "a dog"]
    assert absolute.img_folder == ""


@pytest.mark.parametrize("name", ["plain.json", "two words", "it's", "a$HOME b", 'say "x"', "(1)", "a;b", "`x`"])
def test_a_quoted_path_is_one_word_for_a_shell(name: str) -> None:
    """Whatever a path holds, a shell reads it as it is; a plain one has no quotes."""
    assert shlex.split(quoted(Path(name))) == [name]
    assert quoted(Path("two words")) == '"two words"'
    assert quoted(Path("plain/a-b_c.json")) == "plain/a-b_c.json"
