"""Settings as the text of a new file."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from lora_lab.document.json_string import certain
from lora_lab.failure import Failure
from lora_lab.whole_files import write_whole

Values = Mapping[str, object]


def to_json(values: Values) -> str:
    """Return a flat JSON object, one key to a line."""
    return certain(json.dumps(dict(values), indent=4, ensure_ascii=False)) + "\n"


def to_toml(values: Values) -> str:
    """Return flat TOML; a key that is None is left out, because TOML has no null."""
    return "".join(f"{key} = {toml_value(value)}\n" for key, value in values.items() if value is not None)


def to_yaml(values: Values) -> str:
    """Return flat YAML; a value is written as in JSON, which YAML 1.2 contains."""
    return "".join(f"{key}: {yaml_value(value)}\n" for key, value in values.items())


WRITERS: Final[Mapping[str, Callable[[Values], str]]] = {
    ".json": to_json,
    ".toml": to_toml,
    ".yaml": to_yaml,
    ".yml": to_yaml,
}
"""How a file is written, by the end of its name."""


def toml_value(value: object) -> str:
    """Return a value as TOML; there is none for None."""
    if isinstance(value, str):
        return certain(json.dumps(value, ensure_ascii=False)).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml_key(str(key))} = {toml_value(item)}" for key, item in value.items()) + "}"
    return _number(value)


def _toml_key(key: str) -> str:
    return key if key.isascii() and key.replace("_", "").replace("-", "").isalnum() else toml_value(key)


def yaml_value(value: object) -> str:
    """Return a value as YAML, on one line."""
    if isinstance(value, float):
        return _number(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f").replace("\x85", "\\u0085")


def _number(value: object) -> str:
    """Return a number or switch; an exponent always has a fraction before it, or old YAML readers take it for text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = repr(value)
        return text.replace("e", ".0e") if "e" in text and "." not in text else text
    return "''" if value is None else str(value)


def write_new(path: Path, text: str, *, force: bool) -> None:
    """Write a file whole or not at all; one that is there already is replaced only with `force`.

    Raises `Failure` if it is there, or can't be written.
    """
    if not force and (path.exists() or path.is_symlink()):
        raise Failure(f"{path} is there already", "give another name, or --force to replace it")
    try:
        write_whole(path, text)
    except OSError as error:
        raise Failure(f"can't write {path}: {error.strerror}", "check the folder and its permissions") from None
