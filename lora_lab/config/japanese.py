"""The parameters' texts in Japanese: `japanese.toml` beside this file, laid over the English definitions.

The English is the definition. Each entry names the checksum of the English that it translates, so that a test finds
what has changed since; a parameter without an entry keeps its English.
"""

import sys
import zlib
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

from lora_lab.config.about import Pitfall
from lora_lab.config.parameters import Parameter, plain

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

WORDS = "words"
"""The table of single words and phrases: type texts, units, topics, headings."""


@cache
def japanese() -> dict[str, dict[str, Any]]:
    """Return the table of translations by parameter, and `WORDS`."""
    return tomllib.loads(files("lora_lab.config").joinpath("japanese.toml").read_text(encoding="utf-8"))


def word(english: str) -> str:
    """Return a heading, unit or other short text in Japanese; as it is where there is none."""
    return str(japanese()[WORDS].get(english, english))


def checksum(parameter: Parameter) -> str:
    """Return the checksum of a parameter's English texts: the one that a translation of them names as `of`."""
    texts = [parameter.meaning, parameter.typical, *(one.text for one in parameter.pitfalls), parameter.misread or ""]
    return f"{zlib.crc32(chr(10).join(texts).encode()):08x}"


def in_japanese(parameter: Parameter) -> Parameter:
    """Return the parameter with its texts in Japanese; sources, names and numbers stay."""
    known = japanese().get(parameter.name, {})
    pitfalls = zip(known.get("pitfalls", [one.text for one in parameter.pitfalls]), parameter.pitfalls, strict=True)
    return replace(
        parameter,
        meaning=known.get("meaning", parameter.meaning),
        typical=known.get("typical", parameter.typical),
        pitfalls=tuple(Pitfall(text, one.source) for text, one in pitfalls),
        misread=known.get("misread", parameter.misread),
        type_text=_type_text(parameter),
        unit=word(parameter.unit),
        topic=word(parameter.topic),
    )


def range_in_japanese(parameter: Parameter) -> str:
    """Return the hard limits in words, "" where there are none, as `Parameter.range_text` does in English."""
    low, high = parameter.minimum, parameter.maximum
    parts = []
    if low is not None:
        parts.append(f"{plain(low)} {'より大きい' if parameter.exclusive_minimum else '以上'}")
    if high is not None:
        parts.append(f"{_number(high)} {'未満' if parameter.exclusive_maximum else '以下'}")
    if parameter.multiple_of:
        parts.append(f"{parameter.multiple_of} の倍数")
    return "、".join(parts)


def _number(limit: float) -> str:
    text = plain(limit)
    return "10 億" if text == "a billion" else text


def _type_text(parameter: Parameter) -> str:
    if parameter.choices:
        return "次のいずれか: " + ", ".join(str(choice) for choice in parameter.choices)
    return word(parameter.type_text)
