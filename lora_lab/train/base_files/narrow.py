"""The classes of diffusers that Stable Diffusion is made of, without the seconds of everything else that it imports.

`from diffusers import UNet2DConditionModel` also brings in peft, bitsandbytes, scipy, transformers and PyTorch's
compiler where they are installed: three quarters of its time, and nothing that a frozen U-Net or a VAE uses. diffusers
asks first whether they are there, and does without where they are not; here it is told so while it imports the models.
Afterwards it knows them again, and what was imported without them is forgotten, for pipelines to import it whole.
"""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import MethodType, ModuleType
from typing import Any

UNET = "diffusers.models.unets.unet_2d_condition"
VAE = "diffusers.models.autoencoders.autoencoder_kl"
ATTENTION = "diffusers.models.attention_processor"
SCHEDULES = "diffusers.optimization"
CONVERTERS = "diffusers.loaders.single_file_utils"

_COMPILER = "torch._dynamo"
_UNUSED = ("_peft_available", "_bitsandbytes_available", "_scipy_available", "_transformers_available")
_WITH_LISTS = ("diffusers.loaders", "diffusers.models", "diffusers.schedulers")
"""Packages that list their content when they are imported, by what is installed."""

_WHOLE_ZOO = ("diffusers.models.transformers",)
"""Packages that import every model in them, of which a U-Net uses one or two by their modules' own names."""

_INCOMPLETE = (
    *("diffusers.loaders.lora_base", "diffusers.loaders.lora_pipeline", CONVERTERS),
    *("diffusers.quantizers", "diffusers.hooks.layerwise_casting"),
    *(f"diffusers.schedulers.scheduling_{name}" for name in ("dpmsolver", "euler_discrete", "heun", "lms", "k_dpm")),
)
"""Modules, or beginnings of their names, that lack functions after an import without the packages."""

_lock = threading.RLock()
_modules: dict[str, ModuleType] = {}


def unet_class() -> Any:
    """Return diffusers' UNet2DConditionModel."""
    return _module(UNET).UNet2DConditionModel


def without_peft(unet: Any) -> Any:
    """Return a U-Net whose forward pass does not look for peft's layers, which are not how LoRAs hang on it here.

    diffusers wraps it to scale them, and imports peft for that where it is installed: seconds at the first step.
    """
    unet.forward = MethodType(inspect.unwrap(type(unet).forward), unet)
    return unet


def vae_class() -> Any:
    """Return diffusers' AutoencoderKL."""
    return _module(VAE).AutoencoderKL


def attention() -> Any:
    """Return diffusers' module of attention processors."""
    return _module(ATTENTION)


def schedules() -> Any:
    """Return diffusers' module of learning-rate schedules."""
    return _module(SCHEDULES)


def converters() -> Any:
    """Return the functions that turn the tensor names of single files into those of diffusers."""
    return _module(CONVERTERS)


def _module(name: str) -> ModuleType:
    with _lock:
        if name not in _modules:
            _modules[name] = sys.modules.get(name) or _imported(name)
        return _modules[name]


def _imported(name: str) -> ModuleType:
    """Import a module without what it does not use or, where this diffusers does not bear that, with everything."""
    before = set(sys.modules)
    try:
        with _without():
            return importlib.import_module(name)
    except (ImportError, RuntimeError, AttributeError, NameError):
        _forget(lambda module: module not in before)
        return importlib.import_module(name)
    finally:
        new = set(sys.modules) - before
        _forget(lambda module: module in new and module.startswith(_INCOMPLETE))


def _forget(chosen: Callable[[str], bool]) -> None:
    """Take modules of diffusers out of the list of imported ones, and off the packages that they are in."""
    for name in [one for one in sys.modules if one.startswith("diffusers.") and chosen(one)]:
        package, _, short = name.rpartition(".")
        gone = sys.modules.pop(name)
        parent = sys.modules.get(package)
        if parent is not None and parent.__dict__.get(short) is gone:
            delattr(parent, short)


@contextlib.contextmanager
def _without() -> Iterator[None]:
    """Within: this thread can't import the compiler, and diffusers believes that the packages are not there."""
    import torch  # noqa: PLC0415  # seconds; whoever asks for a model has it already

    hidden = [name for name in (_COMPILER, "transformers") if name not in sys.modules]
    disable = torch.compiler.disable
    finder = _Hidden([_COMPILER] if _COMPILER in hidden else [])
    sys.meta_path.insert(0, finder)
    if _COMPILER in hidden:
        torch.compiler.disable = _as_it_is
    try:
        flags = _flags()
        for package in _WITH_LISTS:
            importlib.import_module(package)
        kept = {name: getattr(flags, name) for name in _UNUSED if hasattr(flags, name)}
        if "transformers" not in hidden:
            kept.pop("_transformers_available", None)
        for name in kept:
            setattr(flags, name, False)
        finder.names = hidden
        try:
            with _by_module(_WHOLE_ZOO):
                yield
        finally:
            for name, value in kept.items():
                setattr(flags, name, value)
    finally:
        torch.compiler.disable = disable
        sys.meta_path.remove(finder)


@contextlib.contextmanager
def _by_module(packages: Sequence[str]) -> Iterator[None]:
    """Within: packages that nobody has imported have their modules, but import none by themselves."""
    bare = [name for name in packages if name not in sys.modules]
    for name in bare:
        spec = importlib.util.find_spec(name)
        if spec is not None:
            sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        yield
    finally:
        for name in bare:
            sys.modules.pop(name, None)


def _flags() -> Any:
    """Import diffusers' list of what is installed, without its look at every file of every package.

    It looks when a name is asked for that is not in the list (a quarter of a second, with many packages installed).
    """
    name = "diffusers.utils.import_utils"
    if name in sys.modules:
        return sys.modules[name]
    look = importlib.metadata.packages_distributions
    importlib.metadata.packages_distributions = dict
    try:
        flags: Any = importlib.import_module(name)
    finally:
        importlib.metadata.packages_distributions = look
    flags._package_map = None
    return flags


def _as_it_is(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Stand in for `torch.compiler.disable`, which would import the compiler to keep it away from a function."""
    return (lambda function: function) if fn is None else fn


class _Hidden:
    """A finder that finds no module of some names for the thread that made it; others are not disturbed."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._thread = threading.get_ident()

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Raise ModuleNotFoundError for what is hidden; leave the rest to the other finders."""
        if name in self.names and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{name} is not needed here", name=name)
        return None
