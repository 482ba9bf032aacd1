"""What a planted mistake is, and the folders that some of them need."""

import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from lora_lab.lint.probes import Gpu, Probes
from planting.bases import BASES, DATA_SETS, SDXL
from planting.writing import FORMS

GONE: Final = object()
"""In the changes of a plant: the setting is not there."""


PACKAGES: Final = {"torch": "2.10.0", "xformers": "0.0.34", "bitsandbytes": "0.49.0", "prodigyopt": "1.1.2"}


class FakeMachine(Probes):
    """A machine with one card, or none, and some packages."""

    def __init__(self, card: Gpu | None, missing: tuple[str, ...] = ()) -> None:
        self._cards = (card,) if card else ()
        self._packages = {name: version for name, version in PACKAGES.items() if name not in missing}

    def gpus(self) -> tuple[Gpu, ...] | None:
        """Return the card."""
        return self._cards

    def installed(self, module: str) -> bool:
        """Say whether a package is among those that are there; others are."""
        return module in self._packages or module not in PACKAGES

    def version(self, package: str) -> str | None:
        """Return a package's version."""
        return self._packages.get(package, "1.0" if package not in PACKAGES else None)

    def free(self, folder: Path) -> int | None:
        """Return plenty."""
        return 10**12

    def memory(self) -> int | None:
        """Return 64 GiB."""
        return 2**36

    def cores(self) -> int | None:
        """Return 16."""
        return 16


GOOD_CARD: Final = Gpu("NVIDIA GeForce RTX 4090", (8, 9), 24 * 2**30)


class Plant(NamedTuple):
    """A clean config with a mistake: the form and base, what is set instead, what is done to the text, and to folders.

    `files` gives the content of files below the config's folder; None leaves out one of the usual ones. `target` is the
    trainer that the file is judged for, where it is not the form's own; `machine` the one that it is judged on.
    """

    form: str
    base: str
    changes: Mapping[str, object] = {}
    edit: Callable[[str], str] | None = None
    files: Mapping[str, bytes | None] | None = None
    encoding: str = "utf-8"
    target: str = ""
    machine: FakeMachine | None = None

    @property
    def disk(self) -> bool:
        """Say whether the mistake is one of files and folders."""
        return self.files is not None

    def text(self) -> str:
        """Return the config's text with the mistake in it."""
        if self.form == "dataset":
            text = DATA_SETS[self.base]
        else:
            settings = {**BASES, **SDXL}[self.base] | self.changes
            _, write, _ = FORMS[self.form]
            text = write({key: value for key, value in settings.items() if value is not GONE})
        return self.edit(text) if self.edit else text

    def suffix(self) -> str:
        """Return the end of the config file's name."""
        return "toml" if self.form == "dataset" else FORMS[self.form][0]

    def judged_for(self) -> str:
        """Return the trainer that the file is judged for."""
        return self.target or ("sd-scripts" if self.form == "dataset" else FORMS[self.form][2])

    def lay_out(self, folder: Path) -> Path:
        """Write the config and the folders that it names; return the config's path."""
        for name, data in {**clean_files(), **(self.files or {})}.items():
            if data is not None:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        config = folder / f"config.{self.suffix()}"
        config.write_bytes(self.text().encode(self.encoding))
        return config


def png(width: int = 512, height: int = 512) -> bytes:
    """Return a PNG of black pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = chunk(b"IHDR", width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x01\0\0\0\0")
    pixels = zlib.compress((b"\0" + bytes((width + 7) // 8)) * height)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def safetensors(header: Mapping[str, object]) -> bytes:
    """Return a safetensors file of this header and zeros."""
    text = json.dumps(header).encode()
    ends = [one["data_offsets"][1] for one in header.values() if isinstance(one, dict) and "data_offsets" in one]
    return len(text).to_bytes(8, "little") + text + bytes(max(ends, default=0))


def lora_file(rank: int, alpha: float = 1.0) -> bytes:
    """Return the file of a small LoRA of that rank, with the metadata that kohya's scripts write."""
    name = "lora_unet_down_blocks_0_attentions_0_proj_in"
    down, up = rank * 320 * 2, 320 * rank * 2
    return safetensors(
        {
            "__metadata__": {"ss_network_dim": str(rank), "ss_network_alpha": str(alpha)},
            f"{name}.lora_down.weight": {"dtype": "F16", "shape": [rank, 320, 1, 1], "data_offsets": [0, down]},
            f"{name}.lora_up.weight": {"dtype": "F16", "shape": [320, rank, 1, 1], "data_offsets": [down, down + up]},
            f"{name}.alpha": {"dtype": "F16", "shape": [], "data_offsets": [down + up, down + up + 2]},
        }
    )


def model_folder(width: int, prediction: str = "epsilon") -> dict[str, bytes]:
    """Return the files by which a diffusers folder tells its family: the text features' width and the prediction."""
    return {
        "models/base/model_index.json": b'{"_class_name": "StableDiffusionPipeline"}',
        "models/base/unet/config.json": json.dumps({"cross_attention_dim": width}).encode(),
        "models/base/scheduler/scheduler_config.json": json.dumps({"prediction_type": prediction}).encode(),
    }


def clean_files() -> dict[str, bytes]:
    """Return the files of a folder in which nothing is wrong."""
    files = model_folder(768)
    for at in range(6):
        files[f"pictures/10_cat/{at}.png"] = png()
        files[f"pictures/10_cat/{at}.txt"] = f"sks cat, sitting, number {at}".encode()
    return files
