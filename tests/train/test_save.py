"""Files on the way: what is saved when, under which name, and what goes again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors import safe_open

from lora_lab.config import TrainConfig
from lora_lab.tracking.events import Artifact, SamplePicture
from lora_lab.train import save
from lora_lab.train.data.folder import Picture
from lora_lab.train.save import write_tag_report

Train = Callable[..., Any]


def names(folder: Path) -> list[str]:
    """Everything that lies in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def test_final_file_alone(train: Train) -> None:
    """Without any wish a run leaves `last.safetensors` and nothing else."""
    assert names(train(max_steps=1).folder) == ["last.safetensors"]


def test_every_n_epochs(train: Train) -> None:
    """Every second epoch of five (two steps each) is saved under its number; the last has the plain name."""
    run = train(batch_size=8, max_steps=None, num_epochs=5, save_every_n_epochs=2, change_output_name="lumi")
    assert names(run.folder) == ["lumi-000002.safetensors", "lumi-000004.safetensors", "lumi.safetensors"]
    assert [event.path.name for event in run.told(Artifact)] == [
        "lumi-000002.safetensors",
        "lumi-000004.safetensors",
        "lumi.safetensors",
    ]
    for name, epoch, step in (("lumi-000002", "2", "4"), ("lumi", "5", "10")):
        with safe_open(run.folder / f"{name}.safetensors", "pt") as file:
            about = file.metadata()
        assert (about["ss_epoch"], about["ss_steps"], about["ss_num_epochs"]) == (epoch, step, "5")


def test_the_last_epoch_is_not_saved_twice(train: Train) -> None:
    """The last epoch has the plain name only."""
    run = train(batch_size=16, max_steps=None, num_epochs=2, save_every_n_epochs=1)
    assert names(run.folder) == ["epoch-000001.safetensors", "last.safetensors"]


def test_only_the_last_n_epochs_stay(train: Train) -> None:
    """save_last_n_epochs 2 keeps the two latest numbered files and their states, whatever the interval."""
    run = train(
        batch_size=16, max_steps=None, num_epochs=9, save_every_n_epochs=2, save_last_n_epochs=2, save_state=True
    )
    assert names(run.folder) == [
        "epoch-000006-state",
        "epoch-000006.safetensors",
        "epoch-000008-state",
        "epoch-000008.safetensors",
        "last-state",
        "last.safetensors",
    ]


def test_every_n_steps(train: Train) -> None:
    """Every third step is saved under its number, with a state where states are wanted."""
    run = train(max_steps=7, save_every_n_steps=3, save_state=True, save_as="ckpt")
    assert names(run.folder) == [
        "at-step00000003-state",
        "at-step00000003.ckpt",
        "at-step00000006-state",
        "at-step00000006.ckpt",
        "last-state",
        "last.ckpt",
    ]


def test_files_on_the_way_are_the_weights_of_then(train: Train, same_tensors: Callable[..., bool]) -> None:
    """The file of step 3 is what a constant-rate run of three steps ends with, not the final weights."""
    from safetensors.torch import load_file

    long = train(max_steps=5, save_every_n_steps=3, scheduler="constant")
    short = train(max_steps=3, scheduler="constant")
    assert same_tensors(load_file(long.folder / "at-step00000003.safetensors"), short.tensors)
    assert not same_tensors(long.tensors, short.tensors)


def test_sample_pictures(train: Train, tmp_path: Path) -> None:
    """Pictures of the bare base, of every second step and of the finished LoRA, at the training resolution."""
    run = train(
        max_steps=5, learning_rate=0.05, sample_every_n_steps=2, sample_prompts=["lumi --s 2 --d 1", "a thing --s 2"]
    )
    told = run.told(SamplePicture)
    wanted = [(step, f"sample_{number:02d}") for step in (0, 2, 4, 5) for number in (0, 1)]
    assert [(event.step, event.key) for event in told] == wanted
    assert names(run.folder / "sample") == [f"last_{step:06d}_{key[-2:]}.png" for step, key in wanted]
    assert [event.path.name for event in told] == names(run.folder / "sample")
    pictures = []
    for event in told:
        with Image.open(event.path) as picture:
            assert picture.size == (64, 64)
            pictures.append(picture.tobytes())
    assert pictures[0] != pictures[1]
    assert pictures[0] != pictures[-2]


def test_samples_at_epoch_ends(train: Train) -> None:
    """sample_every_n_epochs 2 with two steps an epoch draws at the start, after steps 4 and 8, and at the end."""
    run = train(
        batch_size=8, max_steps=None, num_epochs=5, sample_every_n_epochs=2, sample_prompts=["lumi --s 1 --l 1"]
    )
    assert [event.step for event in run.told(SamplePicture)] == [0, 4, 8, 10]


def test_prompts_without_an_interval(train: Train) -> None:
    """Prompts alone are drawn once, by the finished LoRA; an interval without prompts draws nothing."""
    run = train(max_steps=2, sample_prompts=["lumi --s 1 --l 1"])
    assert [event.step for event in run.told(SamplePicture)] == [2]
    assert train(max_steps=2, sample_every_n_steps=1).told(SamplePicture) == []


def test_drawing_changes_no_training(train: Train, same_tensors: Callable[..., bool]) -> None:
    """A run that draws and validates gives the same LoRA as one that does not draw."""
    plain = train(max_steps=3)
    drawing = train(max_steps=3, sample_every_n_steps=1, sample_prompts=["lumi --s 1"])
    assert same_tensors(plain.tensors, drawing.tensors)


@pytest.mark.parametrize(
    ("by_name", "expected"),
    [(False, ["[8] lumi", "[3] red"]), (True, ["[1] a", "[2] b"])],
)
def test_tag_report(
    by_name: bool, expected: list[str], make_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    """The report counts each tag once per picture, by count or by name; regularisation does not count."""

    def picture(caption: str, is_reg: bool = False) -> Picture:
        return Picture(Path("x.png"), 8, 8, caption, 5, is_reg, "1_a", "0")

    captions = ["lumi, red"] * 3 + ["lumi, b"] * 2 + ["lumi, a"] + ["lumi"] * 2
    pictures = [*map(picture, captions), picture("thing", is_reg=True)]
    config = make_config(sort_tag_occurrence_alphabetically=by_name, change_output_name="lumi-run")
    path = write_tag_report(tmp_path, config, pictures)
    assert path.name == "lumi-run.txt"
    lines = path.read_text(encoding="utf-8").split("\n")
    assert [line for line in lines if line.startswith("[")][:2] == expected
    assert not any("thing" in line for line in lines)
    assert names(tmp_path)[-1:] != [".lumi-run.txt.partial"]


def test_a_run_writes_the_report(train: Train) -> None:
    """tag_occurrence_txt_file writes the report beside the LoRA; eight pictures have the tag."""
    run = train(max_steps=1, tag_occurrence_txt_file=True)
    assert names(run.folder) == ["last.safetensors", "last.txt"]
    assert "[8] lumi" in (run.folder / "last.txt").read_text()


def test_due() -> None:
    """A count is due at its multiples; without an interval it never is."""
    assert [n for n in range(1, 8) if save._due(n, 3)] == [3, 6]
    assert not any(save._due(n, None) for n in range(8))
