"""`lora-lab cache`, as a person reads it and as a tool does."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lora_lab.cache_folder import Lease, entries, path_of
from lora_lab.cli.cache import command

KEYS = ["ab" * 32, "cd" * 32, "ef" * 32]

SIZE = """\
FOLDER: 4 entries (1.78 kB), limit 20 GB

kind     entries    size   last used  what
-------  -------  ------  ----------  ---------------------------------------
latents        2  1.4 kB  3 days ago  pictures as the VAE encodes them
texts          1   313 B  1 hour ago  captions as the text encoder gives them
hashes         1    66 B  3 days ago  hashes of model files

base         data          entries     size   last used
-----------  ------------  -------  -------  ----------
models/sd15  pictures/dog        2  1.01 kB  1 hour ago
models/sd15  pictures/cat        1    700 B  3 days ago
"""


def ask(*words: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(command, list(words), standalone_mode=False, catch_exceptions=False)


@pytest.fixture
def folder(written: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache with two latents of 100 numbers, of 3 and 5 days ago, a text of an hour ago, and a hash."""
    monkeypatch.setenv("LORA_LAB_CACHE", str(tmp_path))
    monkeypatch.delenv("LORA_LAB_CACHE_LIMIT", raising=False)
    base, hour = "/m/models/sd15", 3600
    made = [
        (written(tmp_path, KEYS[0], [1.0] * 100, base=base, data="/d/pictures/cat"), 72),
        (written(tmp_path, KEYS[1], [1.0] * 100, base=base, data="/d/pictures/dog"), 120),
        (written(tmp_path, KEYS[2], [0.5] * 4, "texts", base=base, data="/d/pictures/dog"), 1),
    ]
    note = path_of(tmp_path, "hashes", KEYS[0])
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps("0" * 64))
    for path, hours in (*made, (note, 73)):
        then = time.time() - hours * hour - 60
        os.utime(path, (then, then))
    return tmp_path


def test_size(folder: Path) -> None:
    """What there is, by kind and by what it was made for, the largest first."""
    assert ask("size").output.replace(str(folder), "FOLDER") == SIZE
    told = json.loads(ask("size", "--json").output)
    assert told["entries"] == 4
    assert told["bytes"] == sum(entry.size for entry in entries(folder))
    assert [kind["kind"] for kind in told["kinds"]] == ["latents", "texts", "hashes"]
    assert {one["data"]: one["entries"] for one in told["made_for"]} == {"/d/pictures/cat": 1, "/d/pictures/dog": 2}


def test_where(folder: Path) -> None:
    """The folder, the limit, and what changes them."""
    assert ask("where").output.splitlines() == [
        str(folder),
        "limit 20 GB, then what was not used for longest goes",
        "LORA_LAB_CACHE names another folder, LORA_LAB_CACHE_LIMIT another limit (50GB, or none)",
    ]
    assert json.loads(ask("where", "--json").output) == {"folder": str(folder), "limit": 20 * 10**9}


def test_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing was ever kept each command says so, and makes no folder."""
    monkeypatch.setenv("LORA_LAB_CACHE", str(tmp_path / "none"))
    assert ask("size").output == f"{tmp_path / 'none'}: 0 entries (0 B), limit 20 GB\n"
    assert ask("verify").output == "sound: 0 entries (0 B); not sound: 0 entries (0 B)\n"
    assert ask("prune").output == "removed: 0 entries (0 B); left: 0 entries (0 B)\n"
    assert not (tmp_path / "none").exists()


def test_prune(folder: Path) -> None:
    """By age, by size, or to the limit; --dry-run leaves all; what a process uses stays."""
    assert ask("prune", "--older-than", "4d", "--dry-run").output == (
        "would go: 1 entry (700 B); left: 3 entries (1.08 kB)\n"
    )
    assert ask("prune").output == "removed: 0 entries (0 B); left: 4 entries (1.78 kB)\n"
    assert len(entries(folder)) == 4
    told = json.loads(ask("prune", "--older-than", "4d", "--json").output)
    assert told["removed"] == [str(path_of(folder, "latents", KEYS[1]))]
    lease = Lease(folder)
    os.utime(path_of(folder, "latents", KEYS[0]))
    lines = ask("prune", "--keep-under", "0").output.splitlines()
    assert lines == [
        "removed: 2 entries (379 B); left: 1 entry (700 B)",
        "a process has been using the cache for moments; what it uses stays",
    ]
    lease.end()
    assert ask("prune", "--keep-under", "0").output == "removed: 1 entry (700 B); left: 0 entries (0 B)\n"


def test_verify(folder: Path) -> None:
    """What is damaged is named with what is wrong, and goes on request."""
    assert ask("verify").output == "sound: 4 entries (1.78 kB); not sound: 0 entries (0 B)\n"
    path = path_of(folder, "latents", KEYS[0])
    path.write_bytes(path.read_bytes()[:-1])
    result = ask("verify")
    assert result.return_value == 1
    assert result.output.splitlines() == [
        f"{path}: is damaged",
        "sound: 3 entries (1.08 kB); not sound: 1 entry (699 B)",
        "--remove removes what is not sound",
    ]
    told = json.loads(ask("verify", "--json").output)
    assert told["faults"] == [{"path": str(path), "fault": "is damaged"}]
    assert ask("verify", "--remove").output.splitlines()[-1] == "removed: 1 entry (699 B)"
    assert not path.exists()
    assert ask("verify").return_value == 0
