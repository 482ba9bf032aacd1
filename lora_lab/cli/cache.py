"""`lora-lab cache`: what the trainer keeps for later runs: how much, whether it is whole, and what may go."""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lora_lab.cli.say import say, say_exactly
from lora_lab.failure import Failure

if TYPE_CHECKING:
    from lora_lab.cache_folder import Entry

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for tools.")
only_show = click.option("--dry-run", is_flag=True, help="Say what would go, and leave it.")


@click.group(short_help="Show and tidy what the trainer keeps for later runs.")
def command() -> None:
    """Show and tidy what the trainer keeps for later runs: encoded pictures and captions, named by their content.

    All runs of all sweeps share one folder. It may always be emptied: what is missing is computed again.
    """


@command.command(short_help="Say where it is.")
@as_json
def where(as_json: bool) -> int:
    """Say where the cache is, how large it may become, and what changes that."""
    from lora_lab.cache_folder import FOLDER, LIMIT, default_folder, limit

    folder, most = default_folder(), limit()
    if as_json:
        say_exactly(json.dumps({"folder": str(folder), "limit": most}))
        return 0
    say(str(folder))
    say(f"limit {size_text(most)}, then what was not used for longest goes" if most is not None else "no limit")
    say(f"{FOLDER} names another folder, {LIMIT} another limit (50GB, or none)")
    return 0


@command.command(short_help="Say how much there is.")
@as_json
def size(as_json: bool) -> int:
    """Say how much there is: by kind, and by the base and data folder that it was made for first."""
    from lora_lab.cache_entry import about
    from lora_lab.cache_folder import KINDS, default_folder, entries, limit

    folder = default_folder()
    found, most = entries(folder), limit()
    kinds = _grouped(found, lambda entry: (entry.kind,))
    origins = {entry.path: about(entry.path) for entry in found if entry.kind != "hashes"}
    made_for = _grouped(
        (entry for entry in found if entry.path in origins),
        lambda entry: (origins[entry.path].get("base", ""), origins[entry.path].get("data", "")),
    )
    if as_json:
        parts = {
            "kinds": [{"kind": key[0], **figures} for key, figures in kinds],
            "made_for": [{"base": key[0], "data": key[1], **figures} for key, figures in made_for],
        }
        total = sum(entry.size for entry in found)
        said = {"folder": str(folder), "limit": most, "entries": len(found), "bytes": total, **parts}
        say_exactly(json.dumps(said, indent=1, ensure_ascii=False))
        return 0
    from lora_lab.cli.table import text_table

    say(f"{folder}: {_amount(found)}" + (f", limit {size_text(most)}" if most is not None else ""))
    if not found:
        return 0
    header, now = ("entries", "size", "last used"), time.time()
    rows = [(key[0], *_cells(figures, now), KINDS[key[0]]) for key, figures in kinds]
    say("\n" + text_table(("kind", *header, "what"), rows))
    rows = [(_short(key[0]), _short(key[1]), *_cells(figures, now)) for key, figures in made_for]
    say("\n" + text_table(("base", "data", *header), rows))
    return 0


@command.command(short_help="Remove what was not used for long.")
@click.option("--older-than", metavar="TIME", help="What was not used for that long: 30d, 12h, 2w.")
@click.option("--keep-under", metavar="SIZE", help="What was not used for longest, until the rest fits: 20GB.")
@only_show
@as_json
def prune(older_than: str | None, keep_under: str | None, dry_run: bool, as_json: bool) -> int:
    """Remove what was not used for long; without options, what is above the limit.

    What a running process has used stays, in any case.
    """
    from lora_lab.cache_folder import age_of, default_folder, entries, in_use_since, limit, remove, size_of, to_remove

    folder = default_folder()
    found, since = entries(folder), in_use_since(folder)
    before = time.time() - age_of(older_than, "--older-than") if older_than else None
    under = size_of(keep_under, "--keep-under") if keep_under else None
    if before is None and under is None:
        under = limit()
    chosen = to_remove(found, keep_under=under, before=before, in_use_since=since)
    gone = chosen if dry_run else remove(chosen)
    if as_json:
        said = {"dry_run": dry_run, "removed": [str(entry.path) for entry in gone]}
        say_exactly(json.dumps({**said, "bytes": sum(entry.size for entry in gone)}, indent=1))
        return 0
    say(f"{'would go' if dry_run else 'removed'}: {_amount(gone)}; left: {_amount(set(found) - set(gone))}")
    if since is not None:
        say(f"a process has been using the cache for {_ago(time.time() - since)}; what it uses stays")
    if len(gone) < len(chosen):
        say(f"cannot be removed: {_amount(set(chosen) - set(gone))} of another user, or open")
    return 0


@command.command(short_help="Read everything, and find what is damaged.")
@click.option("--remove", "removing", is_flag=True, help="Remove what is damaged.")
@as_json
def verify(removing: bool, as_json: bool) -> int:
    """Read every entry: whether it is whole, is what its name says, and has finite numbers alone.

    The trainer never uses a damaged one either way: it makes it anew. Exit codes: 0 all are sound, 1 some are not.
    """
    from lora_lab.cache_entry import fault
    from lora_lab.cache_folder import default_folder, entries, remove

    folder = default_folder()
    found = entries(folder)
    try:
        wrong = {entry: why for entry in found if (why := fault(entry)) is not None}
    except ImportError as error:
        raise Failure("verify needs numpy, which is not installed", "pip install 'lora-lab[train]'") from error
    gone = remove(list(wrong)) if removing else []
    if as_json:
        faults = [{"path": str(entry.path), "fault": why} for entry, why in wrong.items()]
        said = {"entries": len(found), "faults": faults, "removed": [str(entry.path) for entry in gone]}
        say_exactly(json.dumps(said, indent=1))
        return 1 if wrong else 0
    for entry, why in wrong.items():
        say(f"{entry.path}: {why}")
    say(f"sound: {_amount(set(found) - set(wrong))}; not sound: {_amount(wrong)}")
    if wrong:
        say(f"removed: {_amount(gone)}" if removing else "--remove removes what is not sound")
    return 1 if wrong else 0


def size_text(count: int) -> str:
    """Return a size as people say it: "0 B", "12 kB", "1.3 GB" (powers of ten)."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}" if count / size < 100 else f"{count / size:.0f} {unit}"
    return f"{count} B"


def _amount(found: "Iterable[Entry]") -> str:
    sizes = [entry.size for entry in found]
    return f"{len(sizes):,} {'entry' if len(sizes) == 1 else 'entries'} ({size_text(sum(sizes))})"


def _grouped(
    found: "Iterable[Entry]", key: "Callable[[Entry], tuple[str, ...]]"
) -> list[tuple[tuple[str, ...], dict[str, float]]]:
    """Return entries, bytes and last use of each group, the largest first."""
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in found:
        groups.setdefault(key(entry), []).append(entry)
    figures = [
        (name, {"entries": len(group), "bytes": sum(e.size for e in group), "used": max(e.used for e in group)})
        for name, group in groups.items()
    ]
    return sorted(figures, key=lambda group: (-group[1]["bytes"], group[0]))


def _cells(figures: dict[str, float], now: float) -> Sequence[str]:
    return f"{figures['entries']:,}", size_text(int(figures["bytes"])), f"{_ago(now - figures['used'])} ago"


def _ago(seconds: float) -> str:
    for name, size in (("day", 24 * 3600), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'s' if count > 1 else ''}"
    return "moments"


def _short(path: str) -> str:
    """Return the last two parts of a path, by which people know a folder."""
    return "/".join(Path(path).parts[-2:]) or "-"
