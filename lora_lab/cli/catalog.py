"""`lora-lab catalog`: write the files that derive from the code, or say which of them are out of date."""

from pathlib import Path

import click

from lora_lab.cli.say import say


@click.command()
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit with 1 and name the files that differ.")
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="The checkout to work on; by default the one that this package runs from.",
)
def command(only_check: bool, root: Path | None) -> int:
    """Write the schemas and tables that derive from the code."""
    import lora_lab
    from lora_lab.catalog import stale
    from lora_lab.failure import Failure
    from lora_lab.whole_files import write_whole

    root = root or Path(lora_lab.__file__).resolve().parent.parent
    if not (root / "pyproject.toml").is_file():
        raise Failure(f"{root} is not a checkout of lora_lab", "run it in a clone, or name one with --root")
    differing = stale(root)
    for path, text in differing.items():
        if not only_check:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            write_whole(root / path, text)
        say(f"{path} is out of date: run `lora-lab catalog`" if only_check else f"wrote {path}")
    return 1 if only_check and differing else 0
