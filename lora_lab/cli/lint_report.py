"""What `lora-lab lint` shows at its end: the report for people or tools, the fixes, the differences."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lora_lab.cli.say import say, say_coloured, say_exactly
from lora_lab.secrets import masked

if TYPE_CHECKING:
    from lora_lab.cli.lint import Session
    from lora_lab.lint.report import Judged

_LOOKS: dict[str, dict[str, Any]] = {
    "error": {"fg": "red", "bold": True},
    "warning": {"fg": "yellow", "bold": True},
    "info": {"fg": "blue", "bold": True},
    "place": {"bold": True},
    "gutter": {"fg": "bright_black"},
    "help": {"fg": "cyan"},
}


def show(session: "Session", *, from_input: bool) -> None:
    """Print what was found, or write it to the file that is wanted."""
    options = session.options
    if options.diff:
        text = "".join(session.diffs).removesuffix("\n")
    elif options.form == "text":
        text = "\n".join(_as_text(session))
    else:
        from lora_lab.lint.formats import rendered

        text = masked(rendered(options.form, session.judged))
    to_errors = options.diff or options.form != "text" or (options.fix and from_input)
    for line in session.fixes:
        say(line, err=to_errors)
    if options.output_file is not None:
        _write(options.output_file, text, session)
    elif text or not options.diff:
        _echo(text, for_people=options.form == "text" and not options.diff, err=options.fix and from_input)


def _write(path: Path, text: str, session: "Session") -> None:
    """Write the report to a file."""
    try:
        path.write_text(click.unstyle(text) + "\n", encoding="utf-8", errors="replace")
    except OSError as error:
        session.failures.append(f"can't write {path}: {error.strerror}")


def _as_text(session: "Session") -> Iterator[str]:
    """Yield the lines of the report for people."""
    from lora_lab.lint.report import fixable, summary, text_report

    def style(text: str, role: str) -> str:
        return click.style(text, **_LOOKS[role])

    judged: Sequence[Judged] = session.judged
    if session.options.statistics:
        from lora_lab.lint.formats.statistics import table

        yield from table(judged)
    else:
        yield from (line for one in judged for line in text_report(one, style))
    findings = [finding for one in judged for finding in one.findings]
    if session.skipped and not judged:
        yield f"no training config among {session.skipped} files that were looked at; name one to see why"
        return
    yield summary((finding.severity for finding in findings), len(judged))
    hint = fixable(findings)
    if hint and not session.options.fix:
        yield hint


def _echo(text: str, *, for_people: bool, err: bool = False) -> None:
    """Print, with a stand-in for what the terminal's encoding lacks; colours are dropped where it is no terminal."""
    encoding = (sys.stderr if err else sys.stdout).encoding or "utf-8"
    known = text.encode(encoding, "replace").decode(encoding)
    (say_coloured if for_people else say_exactly)(known, err=err)
