"""`lora-lab explain`: what a parameter or a rule means, as text for a terminal."""

import inspect
import json
import re
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lora_lab.config import Parameter

WIDEST = 100


@click.command()
@click.argument("word", required=False, metavar="[KEY|CODE]")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="Text, or JSON for tools.")
def command(word: str | None, form: str) -> None:
    """Say what a parameter (net_dim) or a rule (LL401) means; without a word, list all parameters."""
    width = min(shutil.get_terminal_size().columns, WIDEST)
    if word is None:
        click.echo(_all_as_json() if form == "json" else "\n".join(_list(width)))
        return
    known = _parameter(word)
    if known is not None:
        text = json.dumps(_parameter_as_data(known), indent=2, ensure_ascii=False) if form == "json" else None
        click.echo(text or "\n".join(_page(known, width)))
        return
    rule = _rule(word)
    page = inspect.cleandoc(rule.page)
    if form == "json":
        known_parts = ("code", "name", "severity", "reads", "source")
        data = {part: getattr(rule, part) for part in known_parts} | {"page": page}
        click.echo(json.dumps(data, indent=2, ensure_ascii=False))
        return
    click.echo("\n".join(_rule_page(rule, page)))


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
        click.echo(f"{folded} is called {name} here.\n", err=True)
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


def _wrapped(text: str, width: int, indent: str = "  ", first: str | None = None) -> list[str]:
    lead = indent if first is None else first
    return textwrap.wrap(text, width, initial_indent=lead, subsequent_indent=indent, break_long_words=False)


def _page(known: "Parameter", width: int) -> Iterator[str]:
    """Yield the lines of one parameter's page."""
    from lora_lab.config.json_schema import elsewhere, json_text

    yield _heading(known.name) + f"  {known.topic}"
    yield ""
    yield from _wrapped(known.meaning, width)
    facts = {
        "type": known.type_text,
        "allowed": known.range_text,
        "unit": known.unit,
        "default": "none, it is required" if known.required else json_text(known.default),
        "typical": known.typical,
        "misread": known.misread or "",
        "elsewhere": elsewhere(known),
    }
    yield ""
    for name, text in facts.items():
        if text:
            lines = _wrapped(text, width, " " * 13, first=f"  {name:<11}")
            yield click.style(lines[0][:13], bold=True) + lines[0][13:]
            yield from lines[1:]
    if known.pitfalls:
        yield ""
        yield click.style("  pitfalls", fg="yellow", bold=True)
    for one in known.pitfalls:
        yield from _wrapped(one.text, width, "    ", first="  - ")
        yield from (click.style(line, dim=True) for line in _wrapped(f"source: {one.source}", width, "    "))


def _rule_page(rule: Any, page: str) -> Iterator[str]:
    """Yield the lines of one rule's page: as its author laid them out, headings marked."""
    from lora_lab.lint.rule import HEADINGS

    yield _heading(f"{rule.code} {rule.name}") + f"  {rule.severity}"
    yield ""
    for line in page.splitlines():
        yield click.style(line, bold=True) if line.rstrip(":") in HEADINGS else line
    yield ""
    yield click.style(f"source: {rule.source}", dim=True)


def _list(width: int) -> Iterator[str]:
    """Yield one line for each parameter, by topic."""
    from lora_lab.config import PARAMETERS

    longest = max(map(len, PARAMETERS))
    for topic in dict.fromkeys(known.topic for known in PARAMETERS.values()):
        yield _heading(topic)
        for name, known in PARAMETERS.items():
            if known.topic == topic:
                room = width - longest - 4
                yield f"  {name:<{longest}}  {textwrap.shorten(_first_clause(known.meaning), room, placeholder=' …')}"
        yield ""
    yield "`lora-lab explain KEY` says more."


def _first_clause(text: str) -> str:
    """Return a sentence up to the first colon, semicolon or full stop."""
    return re.split(r"[:;.](?:\s|$)", text, maxsplit=1)[0]


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


def _all_as_json() -> str:
    from lora_lab.config import PARAMETERS

    return json.dumps([_parameter_as_data(known) for known in PARAMETERS.values()], indent=2, ensure_ascii=False)
