"""Data set files: what they mean, and everything that can be wrong with them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.config import TrainConfig
from lora_lab.document.data_sets import data_sets_of, interpret, read_data_sets
from lora_lab.document.toml_text import parse_toml
from lora_lab.failure import Failure

TWO = """
[general]
shuffle_caption = true
keep_tokens = 1
batch_size = 4

[[datasets]]
resolution = [512, 768]
  [[datasets.subsets]]
  image_dir = "cat"
  num_repeats = 3
  caption_prefix = "lumi,"
  conditioning_data_dir = "masks"
  [[datasets.subsets]]
  image_dir = "/reg"
  is_reg = true
  class_tokens = "a cat"

[[datasets]]
resolution = 1024
batch_size = 1
enable_bucket = false
keep_tokens = 2
caption_dropout_every_n_epochs = 0
  [[datasets.subsets]]
  image_dir = "cat"
  shuffle_caption = false
"""
BASE = TrainConfig(base_model="b", dataset_config="d", output_folder="o", batch_size=9, flip_aug=True)


def written(folder: Path, text: str, name: str = "data.toml") -> Path:
    """Write a file."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_levels_override_each_other(tmp_path: Path) -> None:
    """A subset wins over its data set, that over [general], that over the config; paths start from the file."""
    first, second = data_sets_of(written(tmp_path, TWO))
    assert (first.of(BASE).resolution, first.of(BASE).batch_size, first.of(BASE).buckets) == ((512, 768), 4, True)
    assert (second.of(BASE).train_resolution, second.of(BASE).batch_size, second.of(BASE).buckets) == (1024, 1, False)
    cat, reg = first.subsets
    (again,) = second.subsets
    assert (cat.folder, cat.repeats, cat.is_reg, again.folder) == (tmp_path / "cat", 3, False, tmp_path / "cat")
    assert (reg.folder, reg.repeats, reg.is_reg, reg.class_tokens) == (Path("/reg"), 1, True, "a cat")
    own, other = cat.of(BASE), again.of(BASE)
    assert (own.shuffle_captions, own.keep_tokens, own.caption_prefix, own.flip_aug) == (True, 1, "lumi,", True)
    assert (other.shuffle_captions, other.keep_tokens, other.caption_prefix) == (False, 2, None)
    assert own.mask_folder == str(tmp_path / "masks")
    assert reg.of(BASE).mask_folder is None
    assert other.caption_dropout_every_n_epochs is None


def test_json_means_the_same(tmp_path: Path) -> None:
    """The same file in JSON gives the same data sets."""
    text = (
        '{"general": {"keep_tokens": 1}, "datasets": [{"resolution": 64, "subsets": '
        '[{"image_dir": "cat", "num_repeats": 2}]}]}'
    )
    toml = (
        "[general]\nkeep_tokens = 1\n[[datasets]]\nresolution = 64\nsubsets = [{ image_dir = 'cat', num_repeats = 2 }]"
    )
    assert data_sets_of(written(tmp_path, text, "a.json")) == data_sets_of(written(tmp_path, toml))


@pytest.mark.parametrize(
    ("text", "line", "message", "remedy"),
    [
        ("[[datasets]]\nresoluton = 64\n{}", 2, '"resoluton" is no setting', "did you mean resolution?"),
        ("[[datasets]]\nnum_repeat = 2\n{}", 2, '"num_repeat" is no setting', "did you mean num_repeats?"),
        ("[[datasets]]\n{}\nbatch_size = 2", 4, "batch_size can't stand in [[datasets.subsets]]", "[[datasets]]"),
        ("[[datasets]]\nalpha_mask = true\n{}", 2, "alpha_mask can't stand in [[datasets]]", "[[datasets.subsets]]"),
        ("[[datasets]]\nis_reg = true\n{}", 2, "is_reg can't stand", "[[datasets.subsets]]"),
        ("[[datasets]]\nlearning_rate = 1\n{}", 2, "learning_rate is no setting of a data set", "training config"),
        ("[[datasets]]\ntrain_batch_size = 1\n{}", 2, "train_batch_size is no", "called batch_size"),
        ("keep_tokens = 1\n[[datasets]]\n{}", 1, "keep_tokens stands outside", "below one of them"),
        ("[[datasets]]\nkeep_tokens = '1'\n{}", 2, "keep_tokens must be a whole number", "did you mean 1?"),
        ("[[datasets]]\nbatch_size = 0\n{}", 2, "batch_size must be", "mend it"),
        ("[[datasets]]\n{}\nnum_repeats = 0", 4, "num_repeats is 0", "1 or more"),
        ("[[datasets]]\n{}\nnum_repeats = true", 4, "num_repeats is True", "a whole number"),
        ("[[datasets]]\n{}\nis_reg = 1", 4, "is_reg is 1", "true or false"),
        ("[[datasets]]\n{}\nis_reg = true", 3, "every folder is regularisation", "take is_reg out"),
        ("[[datasets]]\n[[datasets.subsets]]\nnum_repeats = 2", 3, "names no image_dir", "name its folder"),
        ("[[datasets]]\n[[datasets.subsets]]\nimage_dir = ''", 3, "image_dir is no path", "name a folder"),
        ("[[datasets]]\n{}\nmetadata_file = 'm.json'", 4, "fine-tuning", "write them into files"),
        ("[general]\nkeep_tokens = 1", 2, "no folder of pictures", "image_dir"),
        ("[[datasets]\nx = 1", 1, "", "mend"),
        (
            "[[datasets]]\nvalidation_seed = 1\n{}\n[[datasets]]\nvalidation_seed = 2\n{}",
            6,
            "validation_seed differs",
            "[general]",
        ),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(text: str, line: int, message: str, remedy: str, tmp_path: Path) -> None:
    """Each mistake is told with its line and what to do, and stops a run."""
    subset = "[[datasets.subsets]]\nimage_dir = 'cat'"
    path = written(tmp_path, text.replace("{}", subset))
    (first, *_) = [one for one in read_data_sets(path).problems if one.error]
    assert message in first.message
    assert remedy in first.remedy
    assert first.span.line == line
    with pytest.raises(Failure, match=rf"data\.toml:{line}: "):
        data_sets_of(path)


def test_what_is_not_here_is_left_out_with_a_word(tmp_path: Path) -> None:
    """Settings that only sd-scripts has do not stop a run; those that ask for nothing are not spoken of."""
    text = "[[datasets]]\nface_crop_aug_range = [1.0, 2.0]\n[[datasets.subsets]]\nimage_dir = 'a'\ncache_info = true\n"
    text += "caption_separator = ','\n"
    found = read_data_sets(written(tmp_path, text))
    assert [(one.message.split()[0], one.error) for one in found.problems] == [("face_crop_aug_range", False)]
    assert len(found.data_sets) == 1


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file and one that is no JSON object are one plain line."""
    with pytest.raises(Failure, match=r"gone\.toml"):
        read_data_sets(tmp_path / "gone.toml")
    for text in ("[1]", "{", ""):
        with pytest.raises(Failure, match=r"a\.json"):
            read_data_sets(written(tmp_path, text, "a.json"))


@given(st.text(alphabet='[]{}=."\n datesubigr_10', max_size=80))
def test_no_text_makes_it_raise(text: str) -> None:
    """Whatever stands in a file, the answer is data sets and problems."""
    found = interpret(parse_toml(text), Path("data.toml"))
    assert found.data_sets or any(one.error for one in found.problems)
