"""The hooks do their work under the real pre-commit, on a repository made for the purpose."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
GOOD = {"base_model": "base", "img_folder": "pictures", "output_folder": "out"}


def hooks() -> list[dict[str, Any]]:
    """Return the hooks that the repository offers."""
    found: list[dict[str, Any]] = YAML(typ="safe").load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    return found


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the scratch repository, away from the user's own settings."""
    environment = os.environ | {
        "PRE_COMMIT_HOME": str(folder.parent / "cache"),
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **variables,
    }
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        environment.pop(name, None)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a git repository whose pre-commit config has our hooks as they stand, run without an environment.

    `language: python` would fetch the dependencies from the network; the rest of the hook is untouched.
    """
    folder = tmp_path / "work"
    folder.mkdir()
    local = [hook | {"language": "system"} for hook in hooks()]
    for hook in local:
        hook["entry"] = hook["entry"].replace("lora-lab ", f"{sys.executable} -m lora_lab ", 1)
    with (folder / ".pre-commit-config.yaml").open("w") as file:
        YAML(typ="safe").dump({"repos": [{"repo": "local", "hooks": local}]}, file)
    (folder / "good.json").write_text(json.dumps(GOOD))
    (folder / "package.json").write_text('{"name": "web", "private": true}')
    (folder / "list.json").write_text("[1]")
    (folder / "package-lock.json").write_text('{"net_dim": 1, "x": "' + "y" * 2_000_000 + '"}')
    (folder / "pyproject.toml").write_text('[project]\nname = "web"\n[tool.ruff]\nline-length = 100\n')
    (folder / "ci.yaml").write_text("on: push\njobs: {test: {runs-on: ubuntu-latest}}\n")
    (folder / "grid.yaml").write_text("base: good.json\nparameters:\n  net_dim: [8, 16]\n  alpha: [4]\n")
    (folder / "good.toml").write_text("".join(f'{key} = "{value}"\n' for key, value in GOOD.items()))
    (folder / "good.yaml").write_text("".join(f"{key}: {value}\n" for key, value in GOOD.items()))
    assert run(folder, "git", "init", "-q").returncode == 0
    return folder


def committed(folder: Path, hook: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Stage everything and run a hook as a commit would."""
    run(folder, "git", "add", "-A")
    return run(folder, "pre-commit", "run", hook, "--verbose", **variables)


def test_ids_and_manifest(tmp_path: Path) -> None:
    """Both hooks are there, and pre-commit itself finds the manifest valid."""
    assert [hook["id"] for hook in hooks()] == ["lora-lab-lint", "lora-lab-fix"]
    assert run(ROOT, "pre-commit", "validate-manifest", ".pre-commit-hooks.yaml").returncode == 0


def test_lint_hook_stops_a_bad_config(repository: Path) -> None:
    """A clean config passes, other programs' files are not looked at, a bad one stops the commit."""
    assert committed(repository, "lora-lab-lint").returncode == 0
    (repository / "bad.json").write_text(json.dumps(GOOD | {"net_dim": "32"}))
    for end, sign in (("toml", "="), ("yaml", ":")):
        text = (repository / f"good.{end}").read_text()
        (repository / f"bad.{end}").write_text(f'{text}net_dim {sign} "32"\n'.replace(" :", ":"))
    done = committed(repository, "lora-lab-lint")
    assert done.returncode == 1
    assert "bad.json:1:" in done.stdout
    assert "LL003 error" in done.stdout
    assert "bad.toml:4:11: LL003 error" in done.stdout
    assert "bad.yaml:4:10: LL003 error" in done.stdout
    assert not re.search("(good|package|lock|list|grid|ci|pyproject)[.-].*LL0", done.stdout)


def test_fix_hook_mends_and_stops_once(repository: Path) -> None:
    """The first commit is stopped because the file changed, the second goes through."""
    (repository / "bad.json").write_text(json.dumps(GOOD | {"net_dim": "32"}))
    toml = (repository / "good.toml").read_text()
    (repository / "bad.toml").write_text(f'{toml}net_dim = "32" # rank\n')
    others = {
        path.name: path.read_bytes() for path in repository.iterdir() if path.is_file() and "bad" not in path.name
    }
    first = committed(repository, "lora-lab-fix")
    assert first.returncode == 1
    assert "files were modified by this hook" in first.stdout
    assert json.loads((repository / "bad.json").read_text()) == GOOD | {"net_dim": 32}
    assert (repository / "bad.toml").read_text() == f"{toml}net_dim = 32 # rank\n"
    assert others == {name: (repository / name).read_bytes() for name in others}
    assert committed(repository, "lora-lab-fix").returncode == 0


@pytest.mark.slow
@pytest.mark.skipif("LORA_LAB_SLOW" not in os.environ, reason="a minute, and a package index: set LORA_LAB_SLOW=1")
def test_the_hooks_as_a_user_installs_them(tmp_path: Path) -> None:
    """From a clone at a revision, in the environment that pre-commit makes: needs a package index; run by hand."""
    folder = tmp_path / "work"
    folder.mkdir()
    head = run(ROOT, "git", "rev-parse", "HEAD").stdout.strip()
    hooks_used = [{"id": "lora-lab-fix"}, {"id": "lora-lab-lint"}]
    with (folder / ".pre-commit-config.yaml").open("w") as file:
        YAML(typ="safe").dump({"repos": [{"repo": str(ROOT), "rev": head, "hooks": hooks_used}]}, file)
    (folder / "bad.toml").write_text(
        "".join(f'{key} = "{value}"\n' for key, value in GOOD.items()) + 'net_dim = "32"\n'
    )
    (folder / "package.json").write_text('{"name": "web"}')
    assert run(folder, "git", "init", "-q").returncode == 0
    environment = {"PYTHONPATH": ""}
    first = committed(folder, "lora-lab-fix", **environment)
    assert first.returncode == 1, first.stdout + first.stderr
    assert "files were modified by this hook" in first.stdout
    for hook in ("lora-lab-fix", "lora-lab-lint"):
        assert committed(folder, hook, **environment).returncode == 0
