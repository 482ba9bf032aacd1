"""Command lines of training scripts: which words are flags, where they stand, where the command ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab.document.command_text import has_command, is_variable, parse_command


def flags(text: str) -> dict[str, object]:
    """Return the flags of a command with their values."""
    return {item.key: item.value for item in parse_command(text).items}


@pytest.mark.parametrize("sign", ["\\", "^", "`"])
def test_continued_lines(sign: str) -> None:
    """A command goes on after the sign of each of the three shells, and ends at the line without one."""
    text = f"accelerate launch --num_processes 2 train_network.py {sign}\n  --a=1 {sign}\n  --b 2\necho --c 3\n"
    assert flags(text) == {"a": "1", "b": "2"}
    assert parse_command(text).program == "train_network"


def test_quotes_and_blanks() -> None:
    """Quotes keep blanks together and are no part of the value."""
    assert flags("""python train_network.py --a="x y" --b='$z' --c "q\\"r" --d""") == {
        "a": "x y",
        "b": "$z",
        "c": 'q"r',
        "d": True,
    }


def test_flags_with_several_values() -> None:
    """Flags that take a list get one."""
    assert flags("train_network.py --optimizer_args weight_decay=0.1 'betas=0.9,0.99' --xformers") == {
        "optimizer_args": ["weight_decay=0.1", "betas=0.9,0.99"],
        "xformers": True,
    }


def test_places() -> None:
    """Key and value have the place where they stand."""
    text = "x\npython train_network.py \\\n  --network_dim=16 --seed 1"
    dim, seed = parse_command(text).items
    assert (dim.key_span.line, dim.key_span.column) == (3, 3)
    assert text[dim.key_span.start : dim.key_span.end] == "--network_dim"
    assert text[dim.value_span.start : dim.value_span.end] == "16"
    assert text[seed.value_span.start : seed.value_span.end] == "1"


def test_left_over_word() -> None:
    """A word that belongs to no flag stops the script, so it is a problem; a variable may hold flags."""
    problems = parse_command("train_network.py --resolution 768, 768 --seed 1 $more").problems
    assert [problem.message.split()[0] for problem in problems] == ["768"]


def test_twice() -> None:
    """Of a flag that stands twice the last one counts."""
    tree = parse_command("train_network.py --seed 1 --seed 2")
    assert [item.value for item in tree.items] == ["2"]
    assert [item.value for item in tree.duplicates] == ["1"]


@pytest.mark.parametrize("text", ["; rm --seed 2", " | tee --seed 2", " && x --seed 2", " # --seed 2", "\nx --seed 2"])
def test_end(text: str) -> None:
    """The command ends where the shell's does."""
    assert flags(f"python train_network.py --seed 1{text}") == {"seed": "1"}


def test_no_command() -> None:
    """A text without a command has a problem and no flags."""
    tree = parse_command("See the [`train_network.py` guide] for `--output_dir`.")
    assert not tree.items
    assert tree.problems
    assert not has_command("nothing here")


@pytest.mark.parametrize("text", ["$lr", "${RANK}", "{lr}", "%MODEL%", "<path to model>", "NETWORK_DIM"])
def test_variables(text: str) -> None:
    """What the run decides is recognised."""
    assert is_variable(text)


@pytest.mark.parametrize("text", ["1e-4", "C:/a b/c.safetensors", "AdamW8bit", "100%", 5, None])
def test_no_variables(text: object) -> None:
    """Plain values are none."""
    assert not is_variable(text)


@given(st.text(alphabet="-ab=\"'\\\n `^$({#;|& é") | st.text())
def test_any_text(text: str) -> None:
    """No text makes the reader raise, and every span lies in the text."""
    for candidate in (text, f"train_network.py {text}"):
        tree = parse_command(candidate)
        assert all(0 <= item.key_span.start < item.key_span.end <= len(tree.text) for item in tree.items)
