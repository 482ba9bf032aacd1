"""LL5xx: what is drawn while training."""

import re
from collections.abc import Iterator, Sequence

from lora_lab.lint.rule import OURS, Hit, View, rule

_PROMPTS = "lora_lab/train/sample.py; sd-scripts sample prompts"
_OPTION = r"\s+--([nwhdls])\s+"
_WHOLE = frozenset("whds")


@rule("LL512", "sample-prompt-option", "error", reads=("sample_prompts",), source=_PROMPTS, targets=OURS)
def sample_prompt_option(view: View) -> Iterator[Hit]:
    """An option in a sample prompt has an impossible value.

    What it does
    Reads `--w`, `--h`, `--d`, `--l` and `--s` behind each prompt, in the config or in the file that it names.

    Why is this bad
    The run stops when it reads the prompts.

    Bad
    ```json
    {"sample_prompts": ["a cat --w 500 --h 512"], "sample_every_n_epochs": 1}
    ```

    Good
    ```json
    {"sample_prompts": ["a cat --w 512 --h 512 --s 28"], "sample_every_n_epochs": 1}
    ```
    """
    for line in _prompts(view):
        _, *options = re.split(_OPTION, f" {line.strip()} ")
        for letter, text in zip(options[::2], options[1::2], strict=True):
            wrong = _wrong(letter, text.strip())
            if wrong:
                yield Hit(f"sample prompt option --{letter} {text.strip()}: {wrong}", ("sample_prompts",), "correct it")
                return


@rule(
    "LL513",
    "prompts-without-interval",
    "info",
    reads=("sample_prompts", "sample_every_n_epochs", "sample_every_n_steps"),
    source="lora_lab/train/save.py",
    targets=OURS,
)
def prompts_without_interval(view: View) -> Iterator[Hit]:
    """Sample prompts are given, but not how often to draw them.

    What it does
    Looks for `sample_prompts` without `sample_every_n_epochs` and `sample_every_n_steps`.

    Why is this bad
    Pictures are drawn by the finished LoRA only: what it learned when can't be seen, nor what the base drew before.

    Bad
    ```json
    {"sample_prompts": ["a cat"]}
    ```

    Good
    ```json
    {"sample_prompts": ["a cat"], "sample_every_n_epochs": 1}
    ```
    """
    config = view.config
    if config.sample_prompts and not (config.sample_every_n_epochs or config.sample_every_n_steps):
        message = "sample_prompts are drawn at the end only: no interval is set"
        yield Hit(message, ("sample_prompts",), "set sample_every_n_epochs to 1")


@rule(
    "LL514",
    "no-prompt-in-file",
    "warning",
    reads=("sample_prompts", "sample_every_n_epochs", "sample_every_n_steps"),
    source=_PROMPTS,
    targets=OURS,
)
def no_prompt_in_file(view: View) -> Iterator[Hit]:
    """Sample pictures are wanted, but the prompts are empty or all commented out.

    What it does
    Counts the lines of `sample_prompts` that are neither empty nor begin with #.

    Why is this bad
    Nothing is drawn.

    Bad
    ```json
    {"sample_prompts": ["# a cat"], "sample_every_n_epochs": 1}
    ```

    Good
    ```json
    {"sample_prompts": ["a cat"], "sample_every_n_epochs": 1}
    ```
    """
    config = view.config
    lines = _lines(view)
    if lines is not None and not _prompts(view) and (config.sample_every_n_epochs or config.sample_every_n_steps):
        yield Hit("sample_prompts holds no prompt", ("sample_prompts",), "write one on each line")


def _lines(view: View) -> Sequence[str] | None:
    """Return the lines of the prompts; None where there are none, or the file is not to be looked at."""
    prompts = view.config.sample_prompts
    if not isinstance(prompts, str):
        return prompts
    if view.disk_view is None:
        return None
    text = view.disk.text(view.disk.resolve(prompts))
    return None if text is None else text.removeprefix("\ufeff").splitlines()


def _prompts(view: View) -> list[str]:
    """Return the lines that are prompts."""
    return [line for line in _lines(view) or () if line.strip() and not line.lstrip().startswith("#")]


def _wrong(letter: str, text: str) -> str:
    """Say what is wrong with an option's value, or ""."""
    if letter == "n":
        return ""
    try:
        value = int(text) if letter in _WHOLE else float(text)
    except ValueError:
        return "a whole number is wanted" if letter in _WHOLE else "a number is wanted"
    if letter in "wh" and (value < 8 or value % 8):
        return "a side is a multiple of 8"
    if letter == "s" and not 1 <= value <= 1000:
        return "1 to 1000 steps"
    return "" if abs(value) < float("inf") else "a finite number is wanted"
