"""`lora-lab best`: the best run's config, ready to be trained, and its LoRA."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lora_lab.cli.say import say
from lora_lab.failure import Failure

if TYPE_CHECKING:
    from lora_lab.compare.comparison import Comparison
    from lora_lab.compare.run import Run


@click.command(short_help="Write the best run's config, ready to train.")
@click.argument("sweeps", nargs=-1, required=True, metavar="SWEEP...", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the config: .json, .toml or .yaml.")
@click.option("--lora", type=click.Path(path_type=Path), metavar="FILE", help="Also copy the LoRA to FILE.")
@click.option("--metric", metavar="NAME", help="What is best by; without, by the sweep's own metric, or val_loss.")
@click.option("--goal", type=click.Choice(["minimize", "maximize"]), help="What is best; without, as the sweep says.")
@click.option("--seed-mean", is_flag=True, help="Take the setting with the best mean over its seeds.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
def command(sweeps: tuple[Path, ...], output: Path | None, lora: Path | None, **asked: Any) -> int:
    """Say which finished run is the best, and write its config and LoRA where they are wanted.

    SWEEP is what `lora-lab compare` takes. The config holds what differs from the defaults, with absolute paths; what
    lint can mend without changing the result is mended. With --seed-mean the best run of the best setting is taken.
    Of runs that do not compare, the largest group counts. Exit codes: 0 done, 1 lint finds errors in the config,
    2 nothing found or written.
    """
    from lora_lab.compare.comparison import Question, compare

    found = compare(sweeps, Question(asked["metric"], asked["goal"]))
    run = _best(found, seed_mean=asked["seed_mean"])
    _tell(found, run, seed_mean=asked["seed_mean"])
    usable = _write_config(run, output, force=asked["force"]) if output is not None else True
    if lora is not None:
        _copy(run, lora, force=asked["force"])
    return 0 if usable else 1


def _best(found: "Comparison", *, seed_mean: bool) -> "Run":
    """Return the best run. Raises `Failure` where none has finished with the metric."""
    from lora_lab.compare.comparison import measured

    row = found.best
    run = found.best_run
    if seed_mean and row is not None:
        candidates = measured(row.runs, found.metric)
        run = min(candidates, key=lambda one: found.sign * one.metrics[found.metric])
    if run is None:
        raise Failure(f"no run has finished with a {found.metric}", "`lora-lab compare` shows how they stand")
    return run


def _tell(found: "Comparison", run: "Run", *, seed_mean: bool) -> None:
    """Say which run it is, and how sure that is."""
    from lora_lab.compare.words import rounded, sentences

    say(f"{run.folder}: {run.name}, {found.metric} {rounded(run.metrics[found.metric])}")
    row = found.best
    if row is not None and (seed_mean or run in row.runs):
        for line in sentences(found):
            if not line.startswith("  ~"):  # which speaks of a table
                say(f"  {line.strip()}")
    elif row is not None:
        means = f"{', '.join(one.folder.name for one in row.runs)} ({found.metric} {rounded(row.spread.mean)})"  # type: ignore[union-attr]  # a ranked row has one
        say(f"  one seed did well: over all seeds {means} is better on average; --seed-mean takes that setting")
    say(f"LoRA: {run.lora}" if run.lora is not None else "its LoRA is not there any more")


def _write_config(run: "Run", output: Path, *, force: bool) -> bool:
    """Write the config; return whether it can be trained as it is. Raises `Failure`."""
    from lora_lab.compare.best_config import config_of, linted
    from lora_lab.config import quoted
    from lora_lab.document.compose import WRITERS, write_new

    suffix = output.suffix.lower()
    if suffix not in WRITERS:
        raise Failure(f"can't write a {suffix or 'file without an ending'} there", f"end it with {', '.join(WRITERS)}")
    if not run.values:
        raise Failure(f"{run.folder} does not say what was trained", "its config.json and events.jsonl are gone")
    ready = linted(config_of(run), output.absolute().parent)
    write_new(output, WRITERS[suffix](ready.values), force=force)
    for finding in ready.mended:
        say(f"mended, with the same result: {finding.message} [{finding.code} {finding.name}]", err=True)
    for finding in ready.findings:
        if finding.severity != "info":
            say(f"{finding.severity}: {finding.message} [{finding.code} {finding.name}]", err=True)
    say(f"lora-lab train {quoted(output)} trains it again, into {ready.values['output_folder']}")
    return all(finding.severity != "error" for finding in ready.findings)


def _copy(run: "Run", target: Path, *, force: bool) -> None:
    """Copy the run's LoRA, whole or not at all. Raises `Failure`."""
    from lora_lab.whole_files import write_whole

    if run.lora is None:
        raise Failure(f"the LoRA of {run.folder} is not there any more", "train its config again")
    if not force and (target.exists() or target.is_symlink()):
        raise Failure(f"{target} is there already", "give another name, or --force to replace it")
    try:
        write_whole(target, run.lora.read_bytes())
    except OSError as error:
        raise Failure(f"can't write {target}: {error.strerror}", "check the folder and its permissions") from error
    say(f"copied to {target}")
