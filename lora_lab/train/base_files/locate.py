"""Where a model is: on the disk, in the cache of a hub, or on the hub, which is asked only where a config names one."""

import socket
from collections.abc import Callable
from pathlib import Path

from lora_lab.failure import Failure
from lora_lab.train.base_files.folder import is_whole

_VAE_FILES = ["config.json", "diffusion_pytorch_model.safetensors"]


def locate_base(text: str) -> Path:
    """Return the file or folder of a base: a path as it is, `owner/name` from the hub or its cache.

    What the cache has whole is used without a look at the network. Raises Failure when the hub can't be asked, or has
    no such model in diffusers' layout.
    """
    path = Path(text)
    return path if path.is_absolute() or path.exists() else _from_hub("base_model", text, is_whole, _fetch_base)


def locate_vae(text: str | None) -> Path | None:
    """Return the file or folder of a VAE in the same way; None is the base's own."""
    if not text or Path(text).is_absolute() or Path(text).exists():
        return Path(text) if text else None
    return _from_hub("vae", text, _is_vae, _fetch_vae)


def _from_hub(key: str, name: str, whole: Callable[[Path], bool], fetch: Callable[[str], str]) -> Path:
    cached = _cached(name)
    if cached is not None and whole(cached):
        return cached
    try:
        folder = Path(fetch(name))
    except Exception as error:  # no network, no such model, no right to it: each library has its own
        raise Failure(
            f"{key} {name} is neither here nor in the hub's cache, and cannot be fetched: {_reason(error)}",
            "download it first, or give the path of a file or folder",
        ) from error
    if not whole(folder):
        raise Failure(
            f"{key} {name} has no model in diffusers' layout on the hub",
            "download its .safetensors file and give the path of that",
        )
    return folder


def _reason(error: BaseException) -> str:
    """Say in a few words why nothing came: the libraries wrap a missing network in long advice on caches."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled  # noqa: PLC0415  # only where a hub is named

    chain: list[BaseException] = []
    while error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__ or error
    unreachable = (ConnectionError, socket.gaierror, LocalEntryNotFoundError, OfflineModeIsEnabled)
    if any(isinstance(one, unreachable) for one in chain):
        return "the hub cannot be reached"
    return str(chain[0]).strip().splitlines()[0] if str(chain[0]).strip() else type(chain[0]).__name__


def _cached(name: str) -> Path | None:
    """Return the newest snapshot of a model in the hub's cache."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415  # only where a hub is named
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError, OSError):
        return None


def _fetch_base(name: str) -> str:
    """Download what a base is made of, code excepted; the filter for pictures is left where it is."""
    from diffusers import DiffusionPipeline  # noqa: PLC0415  # as above
    from diffusers.utils import logging  # noqa: PLC0415

    shown = logging.get_verbosity()
    logging.set_verbosity_error()  # what it warns of is the error that it then raises
    try:
        return DiffusionPipeline.download(name, trust_remote_code=False, safety_checker=None, feature_extractor=None)
    finally:
        logging.set_verbosity(shown)


def _fetch_vae(name: str) -> str:
    from huggingface_hub import snapshot_download  # noqa: PLC0415  # as above

    return snapshot_download(name, allow_patterns=[*_VAE_FILES, *(f"vae/{file}" for file in _VAE_FILES)])


def _is_vae(folder: Path) -> bool:
    return any((folder / sub / "config.json").exists() and _weights(folder / sub) for sub in ("", "vae"))


def _weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))
