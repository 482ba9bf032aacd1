"""Which runs are the same run: a hash of everything that decides the result, and of nothing else."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from lora_lab.config import PARAMETERS, UNDECIDING, TrainConfig, hub_name, resolve_path
from lora_lab.document.data_sets import data_sets_of
from lora_lab.failure import Failure

INPUTS = (
    "base_model",
    "vae",
    "img_folder",
    "reg_img_folder",
    "dataset_config",
    "mask_folder",
    "lora_model_for_resume",
    "base_weights",
    "load_previous_save_state",
    "sample_prompts",
)
"""Keys whose value is a path: what lies there decides, not where."""

VERSION = 1
"""Raised when a default changes, or what a value means: what was trained before is another run then."""

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jxl"})
_CHUNK = 1 << 20


def identity(config: TrainConfig, digests: Mapping[str, str]) -> str:
    """Return the hash (64 hex digits) of what decides the run's result.

    `digests` gives for each of `INPUTS` that is set the hash of its content. The same on every machine and for every
    order of the keys; and, since a value that is the default is left out, in a later version with more parameters.
    """
    decides: dict[str, object] = {"version": VERSION}
    for name, known in PARAMETERS.items():
        value = getattr(config, name)
        if name in digests:
            decides[name] = {"content": digests[name]}
        elif name not in UNDECIDING and value != known.default:
            decides[name] = value
    text = json.dumps(decides, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Digests:
    """Hashes what paths hold; a path that several runs share is read once."""

    def __init__(self, folder: Path) -> None:
        """Relative paths start from `folder`."""
        self._folder = folder
        self._known: dict[tuple[Path, str], str] = {}

    def of(self, config: TrainConfig) -> dict[str, str]:
        """Return the hash of the content of each of the config's inputs; raises `OSError` where one cannot be read."""
        found: dict[str, str] = {}
        for name in INPUTS:
            value = getattr(config, name)
            several = isinstance(value, list) and PARAMETERS[name].path_kind == "files"
            paths = value if several else [value] if isinstance(value, str) and value else []
            each = [self._of_input(path, name, config.caption_extension) for path in paths]
            if each:  # one file is the same alone and as the only one of a list
                found[name] = each[0] if len(each) == 1 else hashlib.sha256(" ".join(each).encode()).hexdigest()
        return found

    def _of_input(self, value: str, name: str, caption_extension: str) -> str:
        """Return the hash of what a path holds; a model on a hub is known by its name."""
        if name == "dataset_config":
            return self._data_sets(resolve_path(value, self._folder), caption_extension)
        on_hub = hub_name(value, self._folder) if PARAMETERS[name].path_kind == "model" else None
        return f"hub:{on_hub}" if on_hub else self._digest(resolve_path(value, self._folder), name, caption_extension)

    def _data_sets(self, path: Path, caption_extension: str) -> str:
        """Return the hash of what a data set file means: its settings, and what lies in its folders, not where."""
        try:
            found = data_sets_of(path)
        except Failure:
            return self._digest(path, "dataset_config", "")  # which can't be trained; lint says why
        parts: list[object] = []
        for one in found:
            parts.append(dict(one.settings))
            for subset in one.subsets:
                extension = str(subset.settings.get("caption_extension") or caption_extension)
                content = {key: value for key, value in subset.settings.items() if key != "mask_folder"}
                if mask := subset.settings.get("mask_folder"):
                    content["mask_folder"] = self._digest(Path(str(mask)), "mask_folder", "")
                pictures = self._digest(subset.folder, "img_folder", extension)
                parts.append(
                    [content, subset.repeats, subset.class_tokens, subset.is_reg, subset.folder.name, pictures]
                )
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()

    def _digest(self, path: Path, name: str, caption_extension: str) -> str:
        kind = caption_extension if name in ("img_folder", "reg_img_folder") else ""
        if (path, kind) not in self._known:
            files = data_files(path, kind) if kind else _all_files(path)
            self._known[path, kind] = content_digest(path, files)
        return self._known[path, kind]


def data_files(folder: Path, caption_extension: str) -> list[Path]:
    """Return the pictures and captions below `folder`, sorted: caches and notes that lie among them decide nothing."""
    suffixes = PICTURES | {caption_extension.lower()}
    return [path for path in _all_files(folder) if path.suffix.lower() in suffixes]


def _all_files(path: Path) -> list[Path]:
    """Return the file itself, or every file below a folder but the hidden ones, sorted by name."""
    if not path.is_dir():
        return [path]
    found = (file for file in path.rglob("*") if file.is_file())
    return sorted(file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts))


def content_digest(top: Path, files: Iterable[Path]) -> str:
    """Return the hash of the files' names below `top` and their content; the name of a single file does not count."""
    whole = hashlib.sha256()
    for file in files:
        name = file.relative_to(top).as_posix() if file != top else ""
        content = hashlib.sha256()
        with file.open("rb") as data:
            while chunk := data.read(_CHUNK):
                content.update(chunk)
        whole.update(f"{name}\0{content.hexdigest()}\n".encode("utf-8", "surrogatepass"))
    return whole.hexdigest()
