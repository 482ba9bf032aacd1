"""The files that derive from the code, schemas and tables: what they must contain. `cli/catalog.py` writes them."""

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from lora_lab.config import PARAMETERS
from lora_lab.config.json_schema import json_text, train_schema
from lora_lab.lint import RULES
from lora_lab.sweep.grid_schema import grid_schema

Renderer = Callable[[str], str]
"""From the present text of a file ("" where there is none) to what it must be."""

_BEGIN: Final = "<!-- parameters -->"
_END: Final = "<!-- /parameters -->"


def render(root: Path) -> dict[Path, str]:
    """Return, by path relative to `root`, the text that each derived file must have.

    The README's table is derived, the rest of the README is not: without the file or its markers nothing is derived.
    """
    return {path: renderer(_present(root / path)) for path, renderer in OUTPUTS.items()}


def stale(root: Path) -> dict[Path, str]:
    """Return those of `render` that differ from what is there."""
    return {path: text for path, text in render(root).items() if text != _present(root / path)}


def _present(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _train_schema(_: str) -> str:
    return _json(train_schema())


def _grid_schema(_: str) -> str:
    return _json(grid_schema())


def _rules(_: str) -> str:
    rules = [
        {
            "code": rule.code,
            "name": rule.name,
            "severity": rule.severity,
            "keys": list(rule.reads),
            "targets": list(rule.targets),
            "source": rule.source,
            "page": inspect.cleandoc(rule.page),
        }
        for rule in RULES
    ]
    return _json({"rules": rules})


def _readme(present: str) -> str:
    before, begin, rest = present.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    return f"{before}{begin}\n{parameter_table()}\n{end}{after}" if end else present


def parameter_table() -> str:
    """Return the Markdown table of all keys: key, type, default, meaning."""
    rows = [("key", "type", "default", "meaning"), ("---", "---", "---", "---")]
    for name, known in PARAMETERS.items():
        type_text = f"{known.type_text} {known.range_text}".strip()
        default = "required" if known.required else f"`{json_text(known.default)}`"
        rows.append((f"`{name}`", type_text, default, known.meaning))
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


OUTPUTS: Final[Mapping[Path, Renderer]] = {
    Path("schemas/train.schema.json"): _train_schema,
    Path("schemas/grid.schema.json"): _grid_schema,
    Path("schemas/rules.json"): _rules,
    Path("README.md"): _readme,
}
"""Every derived file with the function that writes it."""
