"""`lora-lab lint`: judge config files without training, and mend what can be mended."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lora_lab.cli.lint_report import show
from lora_lab.cli.say import say_coloured
from lora_lab.cli.sources import Source, may_be_config, sources, standard_input
from lora_lab.memory import no_collection
from lora_lab.printable import printable

if TYPE_CHECKING:
    from lora_lab.document import Document
    from lora_lab.lint import Disk, Finding
    from lora_lab.lint.finding import Severity
    from lora_lab.lint.fixing import Fixed
    from lora_lab.lint.machine import Machine
    from lora_lab.lint.report import Judged
    from lora_lab.lint.rule import Target
    from lora_lab.lint.settings import Settings

_TARGETS = ("lora_lab", "sd-scripts", "easy")
_FORMS = ("text", "json", "github", "gitlab", "sarif", "junit")


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    form: str
    no_disk: bool
    no_machine: bool
    fix: bool
    unsafe_fixes: bool
    diff: bool
    select: tuple[str, ...]
    ignore: tuple[str, ...]
    severity: "Severity | None"
    isolated: bool
    dialect: str | None
    statistics: bool
    output_file: Path | None
    skip_others: bool
    target: "Target | None"


@dataclass
class Session:
    """What was found so far, over all files."""

    options: Options
    judged: "list[Judged]" = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    fixes: list[str] = field(default_factory=list)
    diffs: list[str] = field(default_factory=list)
    skipped: int = 0
    standard_input: bytes = b""
    disk: "Disk | None" = None
    machine: "Machine | None" = None
    settings: "dict[Path, Settings]" = field(default_factory=dict)


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--fix", is_flag=True, help="Mend what can be mended without changing the training.")
@click.option("--unsafe-fixes", is_flag=True, help="With --fix or --diff: mend also what changes the training.")
@click.option("--diff", is_flag=True, help="Show what --fix would change, and change nothing.")
@click.option("--select", multiple=True, metavar="RULES", help="Report these only: codes (LL403), topics (LL4), names.")
@click.option("--ignore", multiple=True, metavar="RULES", help="Do not report these.")
@click.option("--severity", type=click.Choice(["error", "warning", "info"]), help="Report nothing less severe.")
@click.option("--format", "form", type=click.Choice(_FORMS), default="text", help="Text, or a form for tools.")
@click.option("--output-file", type=click.Path(path_type=Path), help="Write the report there.")
@click.option("--statistics", is_flag=True, help="Count the findings of each rule instead of showing them.")
@click.option("--no-disk", is_flag=True, help="Judge the text alone: do not look for models, folders or captions.")
@click.option("--no-machine", is_flag=True, help="Do not judge by what this machine can do: card, packages, space.")
@click.option("--skip-others", is_flag=True, help="Pass over files that are no training configs, as in a folder.")
@click.option("--dialect", metavar="NAME", help="Whose keys the files have, where the keys do not tell: see above.")
@click.option("--target", type=click.Choice(_TARGETS), help="The trainer that will read the files; ours if not said.")
@click.option("--isolated", is_flag=True, help="Read no settings from pyproject.toml or lora-lab.toml.")
def command(files: tuple[str, ...], **options: Any) -> None:
    """Find what would waste a training run.

    FILE is a config: JSON, TOML or YAML in lora_lab's keys, or one of another program, which its keys tell: kohya's
    GUI, sd-scripts (--config_file, --dataset_config, a command line), LoRA Easy Training Scripts; or a grid of a sweep
    (YAML), whose runs are all judged. - reads one from the
    standard input; a folder is searched for configs, and what in it is none is passed over. --dialect is one of own,
    easy, easy-toml, kohya-gui, sd-scripts, sd-scripts-command, dataset, mixed. Settings (select, ignore, severity,
    target, per-file-ignores) come from [tool.lora-lab] in a pyproject.toml or from a lora-lab.toml, in the config's
    folder or above it.

    A file is judged as a run of lora_lab. Say --target sd-scripts for one that kohya's scripts or GUI will read,
    --target easy for LoRA Easy Training Scripts: what would stop or mislead those is found, and what only lora_lab
    lacks is not.

    \b
    Exit code: 0 nothing but notes was found
               1 there are errors or warnings, or --diff shows a change
               2 a file could not be read or written
    """
    session = Session(Options(**options))
    with no_collection():
        _check(session.options)
        files_to_judge = sources(files, session.failures)
        for source in islice(files_to_judge, 1):
            _judge(source, session)
    for source in files_to_judge:
        _judge(source, session)
    show(session, from_input="-" in files)
    for failure in session.failures:
        say_coloured(click.style(f"error: {printable(failure)}", fg="red"), err=True)
    click.get_current_context().exit(_exit_code(session))


def _check(options: Options) -> None:
    """Refuse options that contradict each other, and rules that do not exist even if no file is judged."""
    if options.unsafe_fixes and not (options.fix or options.diff):
        raise click.UsageError("--unsafe-fixes says which fixes: add --fix to make them or --diff to see them")
    if options.dialect is not None:
        from lora_lab.document.dialects import DIALECTS

        if options.dialect not in DIALECTS:
            raise click.UsageError(f"no dialect is called {options.dialect}; there are {', '.join(DIALECTS)}")
    if options.statistics and options.form != "text":
        raise click.UsageError("--statistics is text")
    if options.select or options.ignore:
        from lora_lab.lint.settings import Settings

        Settings().overridden(options.select, options.ignore)


def _exit_code(session: Session) -> int:
    if session.failures:
        return 2
    if session.options.diff:
        return 1 if session.diffs else 0
    found = {finding.severity for one in session.judged for finding in one.findings}
    return 1 if found & {"error", "warning"} else 0


def _judge(source: Source, session: Session) -> None:
    """Judge one file, and mend it if that is wanted."""
    from lora_lab.document.dialects import decode_config, read_config
    from lora_lab.failure import Failure
    from lora_lab.lint.report import Judged

    options = session.options
    try:
        if (source.found or (options.skip_others and source.path)) and not may_be_config(source):
            session.skipped += 1
            return
        if source.path and source.path.suffix in (".yaml", ".yml") and _judge_grid(source, session):
            return
        if source.path:
            document = read_config(source.path, options.dialect)
        else:
            session.standard_input = standard_input()
            document = decode_config(session.standard_input, None, options.dialect)
        settings = _settings(document.folder, session)
        if (source.found or options.skip_others) and _is_other(document, session):
            session.skipped += 1
            return
        if options.fix or options.diff:
            done = _fixed(document, source, settings, session)
            _take(done, document, source, session)
            document = document if options.diff else done.document
        findings = _findings(document, source, settings, session)
    except Failure as failure:
        if str(failure) not in session.failures:  # settings that can't be used are so for every file
            session.failures.append(str(failure))
        return
    session.judged.append(Judged(source.name, document.text, findings))


def _judge_grid(source: Source, session: Session) -> bool:
    """Judge a grid of a sweep and its runs; return whether it is one. Raises `Failure`."""
    from lora_lab.document.yaml_text import read_yaml
    from lora_lab.lint.report import Judged
    from lora_lab.sweep.lint_grid import is_grid, lint_grid

    assert source.path is not None
    document = read_yaml(source.path)
    if not is_grid(document):
        return False
    found = lint_grid(document, *_surroundings(document.folder, session))
    wanted = _settings(document.folder, session).wanted(found, source.path)
    session.judged.append(Judged(source.name, document.text, wanted))
    return True


def _is_other(document: "Document", session: Session) -> bool:
    """Say whether a file has nothing to do with training: no key that is known, or too few of them."""
    from lora_lab.config import PARAMETERS
    from lora_lab.lint import lint_document

    if not PARAMETERS.keys() & document.entries.keys():
        return True
    return any(finding.code == "LL009" for finding in lint_document(document, None).findings)


def _settings(folder: Path, session: Session) -> "Settings":
    """Return what is wanted for the files of a folder; it is looked up once."""
    from lora_lab.lint.settings import Settings, settings_for

    if folder not in session.settings:
        options = session.options
        settings = Settings() if options.isolated else settings_for(folder)
        session.settings[folder] = settings.overridden(options.select, options.ignore, options.severity, options.target)
    return session.settings[folder]


def _surroundings(folder: Path, session: Session) -> "tuple[Disk | None, Machine | None]":
    """Return what may be looked at beside the text; what is learned of it stays in the session, for all files."""
    from lora_lab.lint import Disk
    from lora_lab.lint.machine import Machine

    if not session.options.no_disk:
        session.disk = session.disk.moved_to(folder) if session.disk else Disk(folder)
    if not session.options.no_machine and session.machine is None:
        session.machine = Machine()
    return session.disk, session.machine


def _findings(document: "Document", source: Source, settings: "Settings", session: Session) -> "tuple[Finding, ...]":
    """Return the findings that are wanted."""
    from lora_lab.lint import lint_document

    disk, machine = _surroundings(document.folder, session)
    found = lint_document(document, disk, settings.target, machine).findings
    wanted = settings.wanted(found, source.path)
    if document.origin is None or not any(finding.fix for finding in wanted):
        return wanted
    from lora_lab.lint.fixing import makeable

    return tuple(makeable(document, wanted))


def _fixed(document: "Document", source: Source, settings: "Settings", session: Session) -> "Fixed":
    """Return the document after its fixes."""
    from lora_lab.lint.fixing import fixed

    def judge(one: "Document") -> "tuple[Finding, ...]":
        return _findings(one, source, settings, session)

    return fixed(document, judge, unsafe=session.options.unsafe_fixes)


def _take(done: "Fixed", before: "Document", source: Source, session: Session) -> None:
    """Write the mended file, or keep the difference to show."""
    from lora_lab.document.write import encoded, write_document

    if session.options.diff:
        session.diffs.extend(_difference(before.text, done.document.text, source.name))
    elif source.path is None:
        given = session.standard_input
        sys.stdout.buffer.write(encoded(done.document, given) if done.applied else given)
    elif done.applied:
        write_document(source.path, done.document)
    if done.applied:
        what = ", ".join(f"{finding.code} {'/'.join(finding.keys[:2])}".strip() for finding in done.applied)
        session.fixes.append(f"{source.name}: {'would fix' if session.options.diff else 'fixed'} {what}")


def _difference(before: str, after: str, name: str) -> Iterator[str]:
    """Yield the lines of a unified diff."""
    import difflib

    for line in difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), name, name):
        yield line if line.endswith(("\n", "\r")) else f"{line}\n\\ No newline at end of file\n"
