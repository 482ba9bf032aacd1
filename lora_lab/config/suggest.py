"""What was probably meant by a value that is wrong."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from lora_lab.config.parameters import Parameter
from lora_lab.config.shapes import OPTIMIZERS

_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "mixed_precision": {
        "none": "no",
        "float": "no",
        "fp32": "no",
        "float32": "no",
        "float16": "fp16",
        "bfloat16": "bf16",
    },
    "save_precision": {"fp32": "float", "float32": "float", "no": "float", "float16": "fp16", "bfloat16": "bf16"},
    "loss_type": {"mse": "l2", "mae": "l1"},
    "scheduler": {"reduce_lr_on_plateau": "plateau", "steplr": "step"},
    "sample_sampler": {"euler a": "euler_a", "euler_ancestral": "euler_a"},
}
_SWITCHES: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
_MOST_DIGITS: Final = 40  # int() and float() of a longer text are not what anybody meant


def suggestions(parameter: Parameter, value: object) -> Iterator[object]:
    """Yield values that may have been meant, the likeliest first; the caller takes the first that is valid."""
    yield from (guess for guess in _guesses(parameter, value) if guess is not None)


def _guesses(parameter: Parameter, value: object) -> Iterator[object]:
    if isinstance(value, str):
        yield from _of_text(parameter, value.strip())
    elif isinstance(value, bool):
        return
    elif isinstance(value, float) and value.is_integer():
        yield int(value)
    if parameter.kind is bool and value in (0, 1):
        yield bool(value)
    if parameter.kind is str and not parameter.choices and isinstance(value, int | float):
        yield str(value)


def _of_text(parameter: Parameter, text: str) -> Iterator[object]:
    if parameter.choices or parameter.name == "optimizer_type":
        yield from _of_choice(parameter, text)
    if parameter.kind is bool:
        yield _SWITCHES.get(text.lower())
    elif re.fullmatch(r"[-+0-9.eE_]+", text) and len(text) <= _MOST_DIGITS:
        yield from _numbers(text)
    if parameter.name == "train_resolution" and "," in text:
        yield text.replace(" ", "")
    if parameter.name == "caption_extension" and text:
        yield f".{text}"
    if parameter.kind is list or parameter.name == "optimizer_args":
        yield text.split() if "=" in text else [text]


def _numbers(text: str) -> Iterator[object]:
    try:
        number = float(text)
    except ValueError:
        return
    if number.is_integer() and abs(number) < 2**53:
        yield int(number)
    yield number


def _of_choice(parameter: Parameter, text: str) -> Iterator[object]:
    names = [choice for choice in parameter.choices if isinstance(choice, str)] or list(OPTIMIZERS)
    folded = {name.casefold(): name for name in names}
    yield _WORDS.get(parameter.name, {}).get(text.casefold())
    yield folded.get(text.casefold())
    import difflib  # noqa: PLC0415 - only for a mistake

    yield from (folded[close] for close in difflib.get_close_matches(text.casefold(), folded, n=1))
