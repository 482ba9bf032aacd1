"""The linter stays light: what `lora-lab lint` imports is on a list."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lora_lab.cli import COMMANDS

ALLOWED = {
    "click",
    "pydantic",
    "pydantic_core",
    "annotated_types",
    "typing_extensions",
    "typing_inspection",
    "colorama",  # click needs it on Windows
    "lora_lab",
}
ALLOWED_OF_OURS = {"cli", "config", "document", "failure", "lint", "memory", "plain_files", "printable", "secrets"}

CODE = """
import json, sys
before = set(sys.modules)
sys.argv = ["lora-lab", *json.loads(sys.argv[1])]
try:
    from lora_lab.cli import main
    main()
except SystemExit:
    pass
print(json.dumps(sorted(set(sys.modules) - before)), file=sys.stderr)
"""


def imported_by(*arguments: str) -> list[str]:
    """Return the modules that a fresh process imports for a command line."""
    command = [sys.executable, "-c", CODE, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    modules: list[str] = json.loads(done.stderr.splitlines()[-1])
    assert modules
    return modules


@pytest.fixture
def config(tmp_path: Path) -> str:
    """Return the path of a config with findings of every kind, on disk too."""
    pictures = tmp_path / "pictures" / "3_cat"
    pictures.mkdir(parents=True)
    (pictures / "a.png").touch()
    (pictures / "a.txt").write_text("a cat")
    values = {"base_model": ".", "img_folder": "pictures", "output_folder": "out", "net_dim": "8", "clip_skip": True}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(values))
    return str(path)


@pytest.mark.parametrize("form", ["text", "json"])
def test_lint_imports_nothing_heavy(config: str, form: str) -> None:
    """Beside the standard library only click, pydantic and what pydantic needs; of ours only the light half."""
    modules = imported_by("lint", "--format", form, config)
    top = {name.partition(".")[0] for name in modules}
    foreign = top - set(sys.stdlib_module_names) - ALLOWED
    assert not {name for name in foreign if not name.startswith(("_", "sitecustomize"))}
    ours = {name.split(".")[1] for name in modules if name.startswith("lora_lab.")}
    assert ours <= ALLOWED_OF_OURS
    assert "lint" in ours


def test_lint_imports_only_its_own_command(config: str) -> None:
    """The other commands are not even read."""
    modules = imported_by("lint", config)
    assert {name for name in COMMANDS if f"lora_lab.cli.{name}" in modules} == {"lint"}


def test_help_imports_no_config() -> None:
    """The list of commands needs none of what they do."""
    assert {name for name in imported_by("--help") if name.startswith("lora_lab.")} == {
        "lora_lab.cli",
        "lora_lab.cli.say",
        "lora_lab.failure",
        "lora_lab.memory",
        "lora_lab.printable",
        "lora_lab.secrets",
    }
