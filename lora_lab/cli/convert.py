"""`lora-lab convert`: a config of another program in our keys, ours for sd-scripts, a LoRA file's own settings."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lora_lab.cli.say import say, say_exactly

if TYPE_CHECKING:
    from lora_lab.document.conversion import Conversion


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The new file: .json, .toml or .yaml.")
@click.option("--to", "target", type=click.Choice(["lora-lab", "sd-scripts"]), default="lora-lab", help="For whom.")
@click.option("--dialect", metavar="NAME", help="Whose keys IN has, where the keys themselves do not tell.")
@click.option("--force", is_flag=True, help="Replace the new file if it is there.")
def command(source: Path, output: Path | None, target: str, dialect: str | None, force: bool) -> None:
    """Turn a training config into one for lora_lab, or one of lora_lab's into one for sd-scripts.

    IN is a config of kohya's GUI, sd-scripts (TOML or a command line), LoRA Easy Training Scripts or lora_lab, or a
    LoRA (.safetensors), whose settings are in its header. Without -o the new text is printed. What has no counterpart
    is listed on the standard error.

    \b
    Exit code: 0 converted
               2 IN could not be read, or OUT not written
    """
    from lora_lab.document.compose import WRITERS, write_new
    from lora_lab.document.conversion import converted, moved
    from lora_lab.document.to_sd_scripts import to_sd_scripts
    from lora_lab.failure import Failure

    suffix = output.suffix.lower() if output else ".toml" if target == "sd-scripts" else ".json"
    if suffix not in ([".toml"] if target == "sd-scripts" else WRITERS):
        kinds = ".toml" if target == "sd-scripts" else ", ".join(WRITERS)
        raise Failure(f"can't write a {suffix or 'file without an ending'} there", f"end the name with {kinds}")
    conversion = converted(source, dialect)
    values = moved(conversion, output.parent if output else conversion.folder)
    left_out: Mapping[str, str] = {}
    if target == "sd-scripts":
        text, left_out = to_sd_scripts(values)
    else:
        text = WRITERS[suffix](values)
    if output is None:
        say_exactly(text, newline=False)
    else:
        write_new(output, text, force=force)
    for line in _report(conversion, len(values) - len(left_out), left_out, output):
        say(line, err=True)


def _report(conversion: "Conversion", number: int, left_out: Mapping[str, str], output: Path | None) -> Iterator[str]:
    """Yield what happened: what was read, taken over, assumed, left open and left out."""
    yield f"read as {conversion.title}; {number} settings taken over{f' to {output}' if output else ''}"
    for note in conversion.notes:
        yield f"  note: {note}"
    if conversion.assumed:
        assumed = ", ".join(f"{key} {value}" for key, value in conversion.assumed.items())
        yield f"  not in the file, so the other program's own: {assumed}"
    for key, theirs in conversion.unknown.items():
        yield f"  not known before the run: {theirs} ({key})"
    reasons: dict[str, list[str]] = {}
    for one in conversion.dropped:
        if one.asks:
            reasons.setdefault(one.reason, []).append(f"{one.key} = {_short(one.value)}")
    for key, reason in left_out.items():
        reasons.setdefault(reason, []).append(key)
    for reason, names in reasons.items():
        yield f"  left out ({reason}): {', '.join(dict.fromkeys(names))}"
    idle = len({one.key for one in conversion.dropped if not one.asks})
    if idle:
        yield f"  left out: {idle} more that a training's result does not depend on"


def _short(value: object) -> str:
    """Return a value in few characters, on one line."""
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else text[:37] + "..."
