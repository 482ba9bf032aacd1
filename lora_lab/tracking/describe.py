"""What a run says of itself when it starts."""

import contextlib
import functools
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from lora_lab.config import PARAMETERS, TrainConfig
from lora_lab.tracking.events import RunStarted


def run_started(config: TrainConfig, *, name: str, tags: Mapping[str, str], note: str = "") -> RunStarted:
    """Return the first event of a run that trains `config`: every effective parameter as text."""
    params = {key: value_text(getattr(config, key)) for key in PARAMETERS}
    return RunStarted(name=name, params=params, tags={**tags, **git_tags(Path.cwd())}, note=note)


@functools.cache
def git_tags(folder: Path) -> Mapping[str, str]:
    """Return the commit of the repository that `folder` lies in, and whether something there is changed since.

    The commit is in the tag where MLflow looks for it. Nothing where there is no repository, or no git.
    """
    git = shutil.which("git")
    if git is None:
        return {}
    said = []
    for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no")):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            # without a monitor that the repository names: what is only looked at must not run its programs
            command = [git, "-C", str(folder), "-c", "core.fsmonitor=false", "--no-optional-locks", *words]
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
            said.append(done.stdout.strip())
    if not said:
        return {}
    changed = {"lora_lab.git.changed": "true" if said[1] else "false"} if len(said) == 2 else {}
    return {"mlflow.source.git.commit": said[0], **changed}


def value_text(value: object) -> str:
    """Return a parameter's value as text: texts as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
