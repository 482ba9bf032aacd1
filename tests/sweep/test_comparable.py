"""Which runs may be ranked together."""

import json
from pathlib import Path

from lora_lab.sweep.comparable import Judging, comparable, judging_of, why

A = "pictures=1 captions=1 sizes=1 noise=1 base=1 vae=1 target=noise schedule=1"
B = A.replace("sizes=1", "sizes=2")


def test_the_largest_group_is_a_and_the_others_say_why() -> None:
    """Equal sets are one group, the largest is A; another gets the next letter and the setting that makes it so."""
    small, large = {"train_resolution": 512}, {"train_resolution": 768}
    runs = [(Judging(B, large), True), (Judging(A, small), True), (Judging(A, small), True)]
    found = comparable("val_loss", runs)
    assert found.letters == ("B", "A", "A")
    assert found.reasons == {"B": "train_resolution 768, not 512"}
    assert not found.all_alike


def test_what_has_no_metric_or_no_held_out_pictures_is_in_no_group() -> None:
    """It can't be ranked, and it does not make the others incomparable."""
    found = comparable("val_loss", [(Judging(A), True), (Judging("none"), True), (Judging(B), False)])
    assert found.letters == ("A", "", "")
    assert found.all_alike


def test_other_metrics_compare_whatever_is_held_out() -> None:
    """The speed of a run does not depend on its held-out pictures."""
    assert comparable("images_per_second", [(Judging(A), True), (Judging(B), True)]).letters == ("A", "A")


def test_an_earlier_record_goes_with_newer_ones_of_the_same_settings() -> None:
    """A record that does not say what it is judged on is known by its settings."""
    same, other = {"validation_seed": 1}, {"validation_seed": 2}
    runs = [(Judging(A, same), True), (Judging("", same), True), (Judging("", other), True), (Judging("", {}), True)]
    found = comparable("val_loss", runs)
    assert found.letters == ("A", "A", "B", "C")
    assert found.reasons["B"] == "validation_seed 2, not 1"
    assert "earlier version" in found.reasons["C"]


def test_every_part_of_a_set_has_words() -> None:
    """Where the settings are the same, the part that differs says why; all parts that the training tells have words."""
    for part in A.split():
        name, _, value = part.partition("=")
        said = why(Judging(A.replace(part, f"{name}={value}x")), Judging(A))
        assert said
        assert said != "they are judged on something else"
    assert "other captions" in why(Judging(A.replace("captions=1", "captions=2")), Judging(A))


def test_settings_come_from_the_runs_config(tmp_path: Path) -> None:
    """Only what decides the validation is taken; a folder without a config tells nothing."""
    assert judging_of(A, tmp_path) == Judging(A)
    (tmp_path / "config.json").write_text(json.dumps({"validation_seed": 3, "net_dim": 8}))
    assert judging_of(A, tmp_path).settings == {"validation_seed": 3}
    (tmp_path / "config.json").write_text("[1]")
    assert judging_of(A, tmp_path) == Judging(A)


def test_the_28th_group_has_a_letter() -> None:
    """After Z comes AA."""
    runs = [(Judging(A.replace("base=1", f"base={number}")), True) for number in range(28)]
    assert comparable("val_loss", runs).letters[25:] == ("Z", "AA", "AB")
