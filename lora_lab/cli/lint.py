"""`lora-lab lint`: judge config files without training."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from lora_lab.lint import Disk
    from lora_lab.lint.report import Judged

_LOOKS: dict[str, dict[str, Any]] = {
    "error": {"fg": "red", "bold": True},
    "warning": {"fg": "yellow", "bold": True},
    "info": {"fg": "blue", "bold": True},
    "place": {"bold": True},
    "gutter": {"fg": "bright_black"},
    "help": {"fg": "cyan"},
}
_PASSED_OVER = {"node_modules", "__pycache__", "venv", "mlruns", "mlartifacts"}


class Source(NamedTuple):
    """A file to judge; `found` says that a search through a folder came upon it."""

    path: Path | None
    name: str
    found: bool


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="Text, or JSON for tools.")
@click.option("--no-disk", is_flag=True, help="Judge the text alone: do not look for models, folders or captions.")
def command(files: tuple[str, ...], form: str, no_disk: bool) -> None:
    """Find what would waste a training run.

    FILE is a config; - reads one from the standard input; a folder is searched for .json files.

    \b
    Exit code: 0 nothing but notes was found
               1 there are errors or warnings
               2 a file could not be read
    """
    failures: list[str] = []
    judged: list[Judged] = []
    skipped = 0
    known: Disk | None = None
    for source in _sources(files, failures):
        one, known = _judge(source, no_disk, known, failures)
        if one and source.found and any(finding.code == "LL009" for finding in one.findings):
            skipped += 1
        elif one:
            judged.append(one)
    _echo(_as_json(judged) if form == "json" else _as_text(judged, skipped))
    for failure in failures:
        click.secho(f"error: {failure}", fg="red", err=True)
    found = {finding.severity for one in judged for finding in one.findings}
    click.get_current_context().exit(2 if failures else 1 if found & {"error", "warning"} else 0)


def _sources(files: Iterable[str], failures: list[str]) -> Iterator[Source]:
    """Yield what is to be judged, each once."""
    seen: set[Path] = set()
    for name in files:
        path = Path(name)
        if name == "-":
            yield Source(None, "<stdin>", found=False)
        elif _is_folder(path):
            inside = [one for one in sorted(path.rglob("*.json")) if not _is_passed_over(one.relative_to(path))]
            if not inside:
                failures.append(f"no .json file in {name}")
            yield from (Source(one, str(one), found=True) for one in inside if one not in seen)
            seen.update(inside)
        elif path not in seen:
            seen.add(path)
            yield Source(path, name, found=False)


def _is_folder(path: Path) -> bool:
    """Say whether a path is a folder; an impossible name is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _is_passed_over(path: Path) -> bool:
    """Say whether a search leaves a path out: hidden folders and those of tools."""
    return any(part.startswith(".") or part in _PASSED_OVER for part in path.parts)


def _judge(
    source: Source, no_disk: bool, known: "Disk | None", failures: list[str]
) -> "tuple[Judged | None, Disk | None]":
    """Return the findings of one file, and the view of the disk with what was learned about it."""
    from lora_lab.document import decode_document, read_document
    from lora_lab.failure import Failure
    from lora_lab.lint import Disk, lint_document
    from lora_lab.lint.report import Judged

    try:
        document = read_document(source.path) if source.path else decode_document(sys.stdin.buffer.read())
    except Failure as failure:
        failures.append(str(failure))
        return None, known
    if not no_disk:
        known = known.moved_to(document.folder) if known else Disk(document.folder)
    result = lint_document(document, None if no_disk else known)
    return Judged(source.name, document.text, result.findings), known


def _as_text(judged: "list[Judged]", skipped: int) -> str:
    """Return the report for people."""
    from lora_lab.lint.report import summary, text_report

    def style(text: str, role: str) -> str:
        return click.style(text, **_LOOKS[role])

    lines = [line for one in judged for line in text_report(one, style)]
    lines.append(summary((f.severity for one in judged for f in one.findings), len(judged)))
    if skipped:
        lines.append(f"{skipped} .json file(s) are no training configs and were passed over; name one to see why")
    return "\n".join(lines)


def _as_json(judged: "list[Judged]") -> str:
    """Return the report for tools."""
    from lora_lab.lint.report import as_data

    return json.dumps({"findings": [data for one in judged for data in as_data(one)]}, indent=2, default=str)


def _echo(text: str) -> None:
    """Print, with a stand-in for what the terminal's encoding lacks; colours are dropped where it is no terminal."""
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "replace").decode(encoding))
