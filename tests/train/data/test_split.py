"""What is held out for validation, and that nothing leaks."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.failure import Failure
from lora_lab.train.data.folder import Picture
from lora_lab.train.data.split import split_validation


def _made(name: str, content: str = "", subset: str = "1_a", is_reg: bool = False) -> Picture:
    return Picture(Path(subset) / name, 8, 8, "c", 1, is_reg, subset, content or name)


def _many(count: int, subset: str = "1_a") -> list[Picture]:
    return [_made(f"{subset}-{index}", subset=subset) for index in range(count)]


def test_counts_per_subset() -> None:
    """round(n · split) of each subset: 3 of 20 and 2 of 10 at 0.15."""
    training, validation = split_validation(_many(20, "1_a") + _many(10, "5_b"), 0.15, 0)
    assert [sum(p.subset == name for p in validation) for name in ("1_a", "5_b")] == [3, 2]
    assert len(training) + len(validation) == 30


def test_zero_holds_nothing_out() -> None:
    """Without a split all pictures train, even a single one."""
    assert split_validation(_many(1), 0.0, 0) == (tuple(_many(1)), ())


def test_at_least_one_is_held_out_and_one_stays() -> None:
    """0.001 of three pictures is one; 1.0 of them leaves one for training."""
    assert [len(side) for side in split_validation(_many(3), 0.001, 0)] == [2, 1]
    assert [len(side) for side in split_validation(_many(3), 1.0, 0)] == [1, 2]


def test_names_and_order_do_not_matter_but_the_seed_does() -> None:
    """A picture's side depends on its content and the seed only."""
    pictures = _many(40)
    held = {p.digest for p in split_validation(pictures, 0.2, 3)[1]}
    renamed = [_made(f"new{index}", picture.digest) for index, picture in enumerate(reversed(pictures))]
    assert {p.digest for p in split_validation(renamed, 0.2, 3)[1]} == held
    assert {p.digest for p in split_validation(pictures, 0.2, 4)[1]} != held


def test_regularisation_pictures_always_train() -> None:
    """No regularisation picture is held out, and they don't count."""
    regularisation = [_made(f"r{index}", is_reg=True) for index in range(50)]
    training, validation = split_validation(_many(10) + regularisation, 0.2, 0)
    assert len(validation) == 2
    assert not any(p.is_reg for p in validation)
    assert sum(p.is_reg for p in training) == 50


def test_content_of_a_regularisation_picture_trains() -> None:
    """A training picture that is also a regularisation picture can't be held out: it would leak."""
    for seed in range(10):
        pictures = [*_many(3), _made("copy", "1_a-0", subset="1_reg", is_reg=True)]
        training, validation = split_validation(pictures, 0.9, seed)
        assert {p.digest for p in training} >= {"1_a-0"}
        assert 1 <= len(validation) <= 2
        assert len(training) + len(validation) == 4


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12)), min_size=1, max_size=40),
    st.floats(0.01, 1.0),
    st.integers(0, 5),
)
def test_copies_never_leak(rows: list[tuple[str, int]], split: float, seed: int) -> None:
    """Whatever copies there are in whatever folders: no content on both sides, nothing lost, neither side empty."""
    pictures = [_made(str(n), f"content {content}", f"1_{subset}") for n, (subset, content) in enumerate(rows)]
    if len({p.digest for p in pictures}) < 2:
        with pytest.raises(Failure, match="two different pictures"):
            split_validation(pictures, split, seed)
        return
    training, validation = split_validation(pictures, split, seed)
    assert training
    assert validation
    assert not {p.digest for p in training} & {p.digest for p in validation}
    assert sorted(p.path for p in training + validation) == sorted(p.path for p in pictures)
