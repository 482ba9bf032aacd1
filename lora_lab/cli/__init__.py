"""The command line. Each command lives in a file of its own and is imported only when it is called."""

import contextlib
import importlib
import io
import os
import sys
from pathlib import Path

import click

from lora_lab import __version__
from lora_lab.cli.say import Unsaid, empty_buffers, say, say_coloured
from lora_lab.failure import Failure, interrupted_code
from lora_lab.memory import no_last_collection
from lora_lab.printable import printable

COMMANDS = {
    "lint": "Find what would waste a training run.",
    "explain": "Say what a parameter or a rule means.",
    "convert": "Turn a config of another program into ours, or ours into one for sd-scripts.",
    "diff": "Show what really differs between two configs.",
    "doctor": "Show what this machine can do.",
    "train": "Train one LoRA.",
    "sweep": "Train every run of a grid and compare them.",
    "status": "Show how the runs of a sweep stand.",
    "compare": "Show which runs are best, by how much, and why.",
    "best": "Write the best run's config, ready to train.",
    "cache": "Show and tidy what the trainer keeps for later runs.",
    "ui": "Open MLflow on the runs.",
    "sync": "Send MLflow what it has not got yet.",
    "lsp": "Serve an editor: findings while you type, meanings, fixes.",
    "quickstart": "See it all work in a few minutes, on any machine.",
    "catalog": "Write the schemas and tables that derive from the code.",
}
"""Every command with its line in `--help`; a test compares them with the commands themselves."""


SILENT = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""What keeps libraries from telling their makers anything, for this process and all that it starts. Who has set one
of them otherwise is left alone.
"""


class LazyGroup(click.Group):
    """Lists the commands without importing them: `--help` must not pay for what it does not run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of that name and return its `command`."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"lora_lab.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run the command. Ctrl-C ends it as click has it, but click's own empty line needs a terminal to go to."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stopped:
            say(err=True)  # what is said next begins a line: the terminal has shown ^C
            raise click.Abort from stopped

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from `COMMANDS` alone."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lora-lab")
def group() -> None:
    """Lint, sweep, train and compare Stable Diffusion LoRA configs."""


def _colour() -> bool | None:
    """Say whether to colour what is printed: what NO_COLOR or FORCE_COLOR wants, else None, where it is a terminal.

    https://no-color.org, https://force-color.org: set to anything but nothing (and for the latter 0).
    """
    if os.environ.get("NO_COLOR"):
        return False
    return True if os.environ.get("FORCE_COLOR", "0") not in ("", "0") else None


def main() -> None:
    """Run the command line; the only place that turns a `Failure` into text and an exit code.

    Exit codes: 0 done and nothing found, 1 findings or failed runs, 2 could not run, 130 interrupted
    (143 by SIGTERM, 129 by a terminal that was closed).
    """
    be_silent()
    no_last_collection()
    try:
        code = _run()
    except BrokenPipeError:  # nobody reads what is printed any more
        code = 0
    except Unsaid as error:
        with contextlib.suppress(OSError):
            say(f"error: what is printed cannot be written: {error.strerror}", err=True)
        code = 2
    empty_buffers()
    sys.exit(code)


def be_silent() -> None:
    """Let no library tell its makers anything, or leave files where nobody looks for them."""
    for name, value in SILENT.items():
        os.environ.setdefault(name, value)
    # matplotlib's list of fonts would go to ~/.config, torch's folder among the temporary files
    with contextlib.suppress(RuntimeError):  # a user without a home
        cache = Path(os.environ.get("LORA_LAB_CACHE") or "~/.cache/lora-lab").expanduser()
        os.environ.setdefault("MPLCONFIGDIR", str(cache / "matplotlib"))
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "torchinductor"))


def _run() -> int:
    """Run the command line and return its exit code, after saying why where that is not 0."""
    try:
        code = group.main(standalone_mode=False, color=_colour())
    except Failure as failure:
        say_coloured(click.style(f"error: {printable(failure.what)}", fg="red"), err=True, colour=_colour())
        if failure.remedy:
            say(f"  {printable(failure.remedy)}", err=True)
        return 2
    except click.ClickException as error:
        told = io.StringIO()
        error.show(told)
        say(told.getvalue().removesuffix("\n"), err=True)
        return 2
    except (click.Abort, KeyboardInterrupt) as ended:  # click makes the one of the other
        stopped = ended.__cause__ if isinstance(ended, click.Abort) else ended
        say(str(stopped or "") or "interrupted", err=True)
        return interrupted_code(stopped)
    return code if isinstance(code, int) else 0
