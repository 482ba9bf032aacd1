"""What a run takes of a machine, measured once by a short probe and kept: what packs are sized by.

    memory of a pack = fixed + Σ over its runs of (member + tensors)

`fixed` is the base with the libraries, `member` what the activations of one run's batch take, `tensors` the adapter's
weights, gradients, moments and average: parameters × bytes, which is known without a probe, so that runs of other ranks
and optimizers need none. While a picture is drawn there are no activations, and `drawing` in their place.

A footprint lies beside the caches under the hash of what decides it: the base's architecture, the largest bucket, the
batch, precision, kind of network, the machine. Sizes are in bytes.
"""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from lora_lab import memory
from lora_lab.cache_folder import default_folder
from lora_lab.config import TrainConfig, trained_parts
from lora_lab.config.packs import SHARED_BY_A_PACK
from lora_lab.document import Document
from lora_lab.lint import Disk
from lora_lab.lint.dataset import placed
from lora_lab.lint.gpu_memory import CONTEXT, Family, adapter_parameters, moments
from lora_lab.lint.machine import Machine
from lora_lab.lint.rule import View
from lora_lab.lint.rules.base_model import base_header
from lora_lab.whole_files import write_whole

VERSION: Final = 2
"""Raised when a step takes other memory than before, or the probe measures otherwise."""

FOLDER: Final = "packs"
"""Below the folder of the caches."""

FLOATS: Final = 8
"""Bytes of a parameter and of its gradient."""

_DECIDES: Final = (
    *("mixed_precision", "xformers", "torch_compile", "gradient_checkpointing", "batch_size", "cache_latents"),
    "max_clip_token_length",
    *("masked_loss", "v2", "cache_text_encoder_outputs"),
    *("network_type", "use_dora", "use_tucker", "lokr_factor", "decompose_both", "block_dims", "conv_block_dims"),
)
_DROPOUTS: Final = ("network_dropout", "rank_dropout", "module_dropout")


class Counts(NamedTuple):
    """Of a base: millions of parameters; adapter parameters per rank of the parts and, with conv_dim, of the rest."""

    base: float
    text_rank: int
    unet_rank: int
    per_conv_dim: int
    per_rank_beside: int


class Probed(Protocol):
    """What a probe has measured by numbers of adapters: peak memory, seconds of a warm step.

    `counts` are those of `Counts`; `drawing` is what decoding the largest sample picture takes above a base at rest.
    """

    @property
    def peaks(self) -> Mapping[int, int]: ...  # noqa: D102
    @property
    def seconds(self) -> Mapping[int, float]: ...  # noqa: D102
    @property
    def counts(self) -> tuple[float, int, int, int, int]: ...  # noqa: D102
    @property
    def drawing(self) -> int: ...  # noqa: D102


class Probe(Protocol):
    """Who measures: the trainer, in a worker."""

    def __call__(self, config: TrainConfig) -> Probed:
        """Train some steps of one run, then of two and more at once. Raises `Failure`, or what breaks a training."""

    def room(self) -> int:
        """Return the bytes that this process could have in all: of the card, or of main memory."""


@dataclass(frozen=True)
class Footprint:
    """See above. `refused`: so many runs at a time did not fit into so many bytes."""

    fixed: int
    member: int
    counts: Counts
    seconds: Mapping[int, float] = field(default_factory=dict)
    drawing: int = 0
    refused: tuple[int, int] | None = None

    def tensors(self, config: TrainConfig) -> int:
        """Return the bytes of an adapter's own tensors."""
        base, text, unet, *wide = self.counts
        numbers = adapter_parameters(config, Family(base, text, unet, (wide[0], wide[1]), (0, 0), (0, 0)))
        return numbers * (FLOATS + moments(config) + (4 if config.ema_decay else 0))

    def of_a_run(self, config: TrainConfig) -> int:
        """Return what a run adds to a pack."""
        return self.member + self.tensors(config)


def footprint_of(config: TrainConfig, probed: Probed, room: int) -> Footprint:
    """Return the footprint that follows from a probe with adapters of `config`."""
    most, first = max(probed.peaks), probed.peaks[1]
    found = Footprint(0, 0, Counts(*probed.counts), dict(probed.seconds), probed.drawing)
    tensors = found.tensors(config)
    each = max((probed.peaks[most] - first) // (most - 1), tensors) if most > 1 else tensors
    refused = None if most > 1 else (2, room)
    return replace(found, fixed=max(first - each, 0), member=each - tensors, refused=refused)


def kind_of(config: TrainConfig) -> str:
    """Return the same text for runs of one sweep that have one footprint."""
    keys = dict.fromkeys((*SHARED_BY_A_PACK, *_DECIDES))
    values = [*(getattr(config, key) for key in keys), trained_parts(config), bool(config.conv_dim), _dropouts(config)]
    return json.dumps(values, default=str)


def key_of(config: TrainConfig, disk: Disk, threads: int | None = None) -> str:
    """Return the hash of what decides a run's footprint on this machine; its paths are absolute."""
    decides = {key: getattr(config, key) for key in _DECIDES}
    more = [trained_parts(config), bool(config.conv_dim), _dropouts(config), _picture(config)]
    view = View(config, {}, frozenset(), (), Document(None, "", {}), disk, None)
    found = [VERSION, place(threads), _base(view), _largest(view), decides, more]
    return hashlib.sha256(json.dumps(found, sort_keys=True, default=str).encode()).hexdigest()


def _dropouts(config: TrainConfig) -> list[bool]:
    return [bool(getattr(config, key)) for key in _DROPOUTS]


def _picture(config: TrainConfig) -> object:
    """What decides the size of sample pictures: their side, unless a prompt says otherwise."""
    prompts = config.sample_prompts
    return [config.train_resolution, prompts] if prompts else None


def _base(view: View) -> object:
    """The base's architecture, else, where its header cannot be read, what the file is by name and size."""
    header = base_header(view)
    if header is not None and header.parameters:
        return [header.family, dict(header.parameters), header.in_channels, header.latent_channels]
    path = view.disk.resolve(view.config.base_model)
    try:
        return [str(path), path.stat().st_size, path.stat().st_mtime]
    except OSError:
        return str(path)


def _largest(view: View) -> object:
    """The bucket of the most pixels; where pictures cannot be read, what buckets are made from."""
    found = placed(view)
    if found is None or not found.uses:
        return [view.config.train_resolution, view.config.img_folder]
    return max(found.uses, key=lambda size: (size[0] * size[1], size))


def place(threads: int | None = None) -> list[object]:
    """Return what a footprint holds for: this machine, its card, else the threads that a worker has; torch."""
    machine = Machine()
    card: object = machine.gpu.name if machine.gpu else None
    if card is None:
        told = os.environ.get("OMP_NUM_THREADS", "")
        card = threads or (int(told) if told.isdigit() else machine.cores)
    return [platform.node(), platform.machine(), card, machine.version("torch")]


def room_here() -> int | None:
    """Return about what a worker on this machine could have: of its card, else of main memory."""
    card = Machine().gpu
    if card is not None:
        return None if card.memory is None else card.memory - CONTEXT
    return memory.available()


def read_footprint(key: str) -> Footprint | None:
    """Return what was measured before, None where nothing was or it cannot be read."""
    try:
        body = json.loads(_path(key).read_text(encoding="utf-8"))
        return footprint_from(body)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def footprint_from(body: Mapping[str, object]) -> Footprint:
    """Return the footprint of what `as_data` made of it. Raises TypeError, ValueError, KeyError."""
    known = {**body}
    known["counts"] = Counts(*known["counts"])  # type: ignore[misc]  # wrong data raises
    known["seconds"] = {int(count): float(value) for count, value in known["seconds"].items()}  # type: ignore[attr-defined]
    known["refused"] = tuple(known["refused"]) if known["refused"] else None  # type: ignore[arg-type]
    return Footprint(**known)  # type: ignore[arg-type]


def as_data(footprint: Footprint) -> dict[str, object]:
    """Return a footprint as JSON can hold it."""
    return {**asdict(footprint), "counts": list(footprint.counts)}


def write_footprint(key: str, footprint: Footprint) -> None:
    """Keep a footprint; where the disk does not take it, it is measured again another time."""
    try:
        _path(key).parent.mkdir(parents=True, exist_ok=True)
        write_whole(_path(key), json.dumps(as_data(footprint), indent=1) + "\n")
    except OSError:
        return


def _path(key: str) -> Path:
    return default_folder() / FOLDER / f"{key}.json"
