"""A config of any dialect as one that a run can be made of, or why it can't."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from lora_lab.config import PARAMETERS, quoted
from lora_lab.document.dialects import read_config
from lora_lab.document.document import Document, Origin
from lora_lab.failure import Failure

_FAMILIES: Final = "lora_lab trains Stable Diffusion 1, 2 and SDXL"
_MOST_SHOWN: Final = 4


def read_trainable(path: Path, dialect: str | None = None) -> Document:
    """Read a config that is about to be trained.

    Raises `Failure` where the file can't be read, or is of a program whose settings lora_lab knows only in part, or is
    a part of a run, or leaves to something else what a run needs. What else is wrong with it lint says.
    """
    document = read_config(path, dialect)
    if document.origin is None or not document.origin.foreign:
        return document
    _demand_whole(path, document.origin)
    _demand_known(path, document, document.origin)
    return document


def trainable_values(document: Document) -> dict[str, object]:
    """Return what a document sets, with what its program takes for what it leaves out."""
    assumed: Mapping[str, object] = document.origin.defaults if document.origin else {}
    return {**assumed, **document.values}


def reading(path: Path, document: Document) -> Iterator[str]:
    """Yield a line that says how another program's file was understood; none for a file in our keys."""
    origin = document.origin
    if origin is None or not origin.foreign:
        return
    said = [f"{path}: read as {origin.title}"]
    if origin.defaults:
        said.append(f"{len(origin.defaults)} of its own defaults assumed")
    left_out = {one.key for one in origin.dropped if one.asks}
    if left_out:
        said.append(f"{len(left_out)} setting{'s' if len(left_out) > 1 else ''} left out that lora_lab does not have")
    yield f"{'; '.join(said)} (to see all: lora-lab convert {quoted(path)})"


def _demand_whole(path: Path, origin: Origin) -> None:
    """Raise `Failure` for a part of a run, and for a file of which only some settings are known."""
    if origin.family == "other":
        raise Failure(f"{path} is for another family of models: {_FAMILIES}", _of_notes(origin))
    convert = f"lora-lab convert {quoted(path)} -o config.json"
    if not origin.readable:
        raise Failure(
            f"{path} is {origin.title}, of which lora_lab knows single settings only",
            f"take them over with `{convert}`, complete that file and train it",
        )
    if origin.partial == "dataset":
        raise Failure(
            f"{path} is {origin.title}: it says what is trained on and not how",
            f"train the config whose dataset_config names it, or `{convert}` and complete that file",
        )
    if origin.partial == "some":
        raise Failure(f"{path}: the rest of the run's settings is not in this file", "train the file of --config_file")


def _demand_known(path: Path, document: Document, origin: Origin) -> None:
    """Raise `Failure` where a setting that a run needs is missing, or is one that only the other program can have."""
    network = next((one for one in origin.dropped if one.asks and one.key in ("network_module", "LoRA_type")), None)
    if network is not None:
        raise Failure(
            f"{path}:{network.span.line}: {network.key} is {network.value}, and lora_lab trains LoRA, LoHa and LoKr",
            f"to train a plain LoRA with its other settings: `lora-lab convert {quoted(path)} -o config.json`",
        )
    unknown = sorted(origin.unknown - document.entries.keys())
    folders = [key for key in unknown if key in ("img_folder", "reg_img_folder")]
    if folders:
        reason = next((one.reason for one in origin.dropped if one.key == "image_dir" and one.asks), "")
        theirs = origin.spellings.get(folders[0], folders[0])
        raise Failure(f"{path}: {theirs} can't be taken over", reason or "write the path in place of the variable")
    if unknown:
        names = ", ".join(origin.spellings.get(key, key) for key in unknown[:_MOST_SHOWN])
        raise Failure(f"{path}: not known before the other program runs: {names}", "write values in their place")
    missing = [
        key
        for key, known in PARAMETERS.items()
        if known.required and not document.values.get(key) and not document.values.get(known.unless)
    ]
    if missing:
        theirs_of = {**origin.names, **origin.spellings}
        said = ", ".join(theirs_of.get(key, key) for key in missing)
        raise Failure(f"{path} does not say {said}", "add it, or convert the file and add it there")


def _of_notes(origin: Origin) -> str:
    return origin.notes[-1] if origin.notes else "train it with the program that it was written for"
