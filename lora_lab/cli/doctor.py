"""`lora-lab doctor`: what this machine can do."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lora_lab.cli.say import say_coloured, say_exactly
from lora_lab.printable import printable

if TYPE_CHECKING:
    from lora_lab.lint.doctor import Line, Torch
    from lora_lab.lint.machine import Machine

_SIGNS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "missing": ("missing", "red")}
_TRIAL = """
import torch
if torch.cuda.is_available():
    print("cuda: " + torch.cuda.get_device_name(0))
elif torch.backends.mps.is_available():
    print("mps")
else:
    print(f"cpu, {torch.get_num_threads()} threads")
"""
_PATIENCE = 120
"""Seconds that the first import of torch may take: on a cold, slow disk it is most of a minute."""


@click.command()
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="Text, or JSON for tools.")
@click.option("--no-import", is_flag=True, help="Do not try to import torch, which takes some seconds.")
def command(form: str, no_import: bool) -> None:
    """Show what this machine can do: card, precision, packages, disk, memory, where runs are tracked.

    \b
    Exit code: 0 it can train
               1 something is missing that training needs
    """
    from lora_lab.lint.machine import Machine

    machine = Machine()
    torch = None if no_import or not machine.trains else _torch()
    lines = [*_lines(machine, torch)]
    if form == "json":
        import json

        say_exactly(json.dumps([line._asdict() for line in lines], indent=2))
    else:
        for shown in _text(lines):
            say_coloured(shown)
    click.get_current_context().exit(1 if any(line.state == "missing" for line in lines) else 0)


def _lines(machine: "Machine", torch: "Torch | None") -> "Iterator[Line]":
    """Yield what there is to tell, the store of runs last."""
    from lora_lab.failure import Failure
    from lora_lab.lint.doctor import Line, examine
    from lora_lab.tracking.target import choose_target, database_of

    yield from examine(machine, Path.cwd(), torch)
    try:
        target = choose_target(None)
    except Failure as failure:
        yield Line("runs", "note", failure.what, failure.remedy or "")
        return
    database = database_of(target)
    there = "" if database is None or database.is_file() else ", which the first run makes"
    yield Line("runs", "ok", f"tracked at {target.shown}{there}")


def _torch() -> "Torch":
    """Return what torch says of itself. Another process imports it: a broken one may end the process that does."""
    from lora_lab.lint.doctor import Torch

    try:
        done = subprocess.run(
            [sys.executable, "-c", _TRIAL], capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Torch(error=type(error).__name__)
    if done.returncode == 0 and done.stdout.strip():
        return Torch(device=done.stdout.strip().splitlines()[-1])
    told = done.stderr.strip().splitlines()
    return Torch(error=told[-1] if told else f"it ended with {done.returncode}")


def _text(lines: "list[Line]") -> Iterator[str]:
    """Yield the lines for people: what is well in one line, else with what to do."""
    width = max(len(line.name) for line in lines)
    for line in lines:
        sign, colour = _SIGNS[line.state]
        yield f"{click.style(f'{sign:<8}', fg=colour)}{line.name:<{width}}  {printable(line.found)}"
        if line.remedy:
            yield f"{'':<{8 + width}}  {click.style('=', dim=True)} {printable(line.remedy)}"
    counts = {state: sum(line.state == state for line in lines) for state in _SIGNS}
    verdict = "this machine can't train yet" if counts["missing"] else "this machine can train"
    yield f"{verdict}: {counts['missing']} missing, {counts['note']} to note"
