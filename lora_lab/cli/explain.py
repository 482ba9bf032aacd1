"""`lora-lab explain`: what a parameter or a rule means, as text for a terminal."""

import inspect
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import click

from lora_lab.cli.say import say_coloured
from lora_lab.cli.wrap import cells, wrapped

if TYPE_CHECKING:
    from lora_lab.config import Parameter

WIDEST = 100


@click.command()
@click.argument("word", required=False, metavar="[KEY|CODE]")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="Text, or JSON for tools.")
@click.option(
    "--lang",
    type=click.Choice(["en", "ja"]),
    default="en",
    envvar="LORA_LAB_LANG",
    show_envvar=True,
    help="English, or Japanese (日本語) for parameters.",
)
def command(word: str | None, form: str, lang: str) -> None:
    """Say what a parameter (net_dim) or a rule (LL401) means; without a word, list all parameters."""
    width = min(shutil.get_terminal_size().columns, WIDEST)
    language = _japanese() if lang == "ja" else _english()
    if word is None:
        say_coloured(_all_as_json(language) if form == "json" else "\n".join(_list(width, language)))
        return
    known = _parameter(word)
    if known is not None:
        data = _parameter_as_data(language.of(known))
        text = json.dumps(data, indent=2, ensure_ascii=False) if form == "json" else None
        say_coloured(text or "\n".join(_page(known, width, language)))
        return
    rule = _rule(word)
    if lang == "ja":
        say_coloured(language.word("The pages of rules are in English."), err=True)
    page = inspect.cleandoc(rule.page)
    if form == "json":
        known_parts = ("code", "name", "severity", "reads", "source", "targets")
        data = {part: getattr(rule, part) for part in known_parts} | {"page": page}
        say_coloured(json.dumps(data, indent=2, ensure_ascii=False))
        return
    say_coloured("\n".join(_rule_page(rule, page)))


def _parameter(word: str) -> "Parameter | None":
    """Return the parameter of that name, here or in another tool; the latter is said."""
    from lora_lab.config import ALIASES, PARAMETERS

    if word in PARAMETERS:
        return PARAMETERS[word]
    folded = word.lstrip("-").replace("-", "_")
    name = folded if folded in PARAMETERS else ALIASES.get(folded)
    if name is None:
        return None
    if name != folded:
        say_coloured(f"{folded} is called {name} here.\n", err=True)
    return PARAMETERS[name]


def _rule(word: str) -> Any:
    """Return the rule of that code or name; raises Failure, with the likest word, when there is none."""
    import difflib

    from lora_lab.config import ALIASES, PARAMETERS, nearest_key
    from lora_lab.failure import Failure

    words = {alias: rule for rule in _rules() for alias in (rule.code.casefold(), rule.name.casefold())}
    if word.casefold() in words:
        return words[word.casefold()]
    meant = difflib.get_close_matches(word.casefold(), [*PARAMETERS, *ALIASES, *words], n=1)
    guess = (words[meant[0]].code if meant and meant[0] in words else None) or nearest_key(word)
    remedy = f"did you mean {guess}?" if guess else "`lora-lab explain` alone lists the parameters"
    raise Failure(f"{word!r} is no parameter and no rule", remedy)


def _rules() -> tuple[Any, ...]:
    from lora_lab.lint import RULES

    return tuple(RULES)


def _heading(text: str) -> str:
    return click.style(text, bold=True, fg="cyan")


@dataclass(frozen=True)
class _Language:
    """How a page says what it says: a parameter's texts, its limits in words, and the page's own words."""

    of: "Callable[[Parameter], Parameter]"
    limits: "Callable[[Parameter], str]"
    word: Callable[[str], str]


def _english() -> _Language:
    return _Language(lambda known: known, lambda known: known.range_text, lambda word: word)


def _japanese() -> _Language:
    from lora_lab.config.japanese import in_japanese, range_in_japanese, word

    return _Language(in_japanese, range_in_japanese, word)


def _page(english: "Parameter", width: int, language: _Language) -> Iterator[str]:
    """Yield the lines of one parameter's page."""
    from lora_lab.config.json_schema import elsewhere, json_text

    known, word = language.of(english), language.word
    yield _heading(known.name) + f"  {known.topic}"
    yield ""
    yield from wrapped(known.meaning, width)
    facts = {
        "type": known.type_text,
        "allowed": language.limits(english),
        "unit": known.unit,
        "default": word("none, it is required") if known.required else json_text(known.default),
        "typical": known.typical,
        "misread": known.misread or "",
        "elsewhere": elsewhere(known),
    }
    yield ""
    for name, text in facts.items():
        if text:
            lead = f"  {word(name)}"
            lead += " " * (13 - cells(lead))
            lines = wrapped(text, width, " " * 13, first=lead)
            yield click.style(lead, bold=True) + lines[0][len(lead) :]
            yield from lines[1:]
    if known.pitfalls:
        yield ""
        yield click.style(f"  {word('pitfalls')}", fg="yellow", bold=True)
    for one in known.pitfalls:
        yield from wrapped(one.text, width, "    ", first="  - ")
        source = f"{word('source')}: {one.source}"
        yield from (click.style(line, dim=True) for line in wrapped(source, width, "    "))


def _rule_page(rule: Any, page: str) -> Iterator[str]:
    """Yield the lines of one rule's page: as its author laid them out, headings marked."""
    from lora_lab.lint.rule import HEADINGS, TARGETS

    yield _heading(f"{rule.code} {rule.name}") + f"  {rule.severity}"
    if rule.targets != TARGETS:
        only = " and ".join(rule.targets)
        how = "" if "lora_lab" in rule.targets else f": `lora-lab lint --target {rule.targets[0]}`"
        yield f"true of {only} only{how}"
    yield ""
    for line in page.splitlines():
        yield click.style(line, bold=True) if line.rstrip(":") in HEADINGS else line
    yield ""
    yield click.style(f"source: {rule.source}", dim=True)


def _list(width: int, language: _Language) -> Iterator[str]:
    """Yield one line for each parameter, by topic."""
    from lora_lab.config import PARAMETERS

    longest = max(map(len, PARAMETERS))
    for topic in dict.fromkeys(known.topic for known in PARAMETERS.values()):
        yield _heading(language.word(topic))
        for name, known in PARAMETERS.items():
            if known.topic == topic:
                room = width - longest - 4
                yield f"  {name:<{longest}}  {_shortened(_first_clause(language.of(known).meaning), room)}"
        yield ""
    yield language.word("`lora-lab explain KEY` says more.")


def _first_clause(text: str) -> str:
    """Return a sentence up to the first colon, semicolon or full stop."""
    return re.split(r"[:;.](?:\s|$)|。", text, maxsplit=1)[0]


def _shortened(text: str, room: int) -> str:
    """Return the text in so many cells, its end left out where it is longer."""
    return text if cells(text) <= room else wrapped(text, max(room - 2, 1), "")[0] + " …"


def _parameter_as_data(known: "Parameter") -> dict[str, Any]:
    from lora_lab.config import REQUIRED

    hidden = ("kind", "row", "nullable")
    data = {field.name: getattr(known, field.name) for field in fields(known) if field.name not in hidden}
    data["required"] = known.required
    data["pitfalls"] = [one._asdict() for one in known.pitfalls]
    data["aliases"] = dict(known.aliases)
    for key in ("default", "null_means"):
        data[key] = None if data[key] is REQUIRED else data[key]
    return data


def _all_as_json(language: _Language) -> str:
    from lora_lab.config import PARAMETERS

    return json.dumps(
        [_parameter_as_data(language.of(known)) for known in PARAMETERS.values()], indent=2, ensure_ascii=False
    )
