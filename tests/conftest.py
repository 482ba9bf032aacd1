"""A machine for tests: one that a few lines describe, so that they tell the same everywhere."""

import json
import os
import signal
import struct
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from lora_lab.cache_entry import Block, seal
from lora_lab.cache_folder import path_of
from lora_lab.lint.machine import Machine
from lora_lab.lint.probes import Gpu, Probes, parse_nvidia_smi
from lora_lab.tracking import recorder

# Processes that test at once share the cores: two threads for each of two processes on two cores are slower than one.
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if _workers > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // _workers, 1)))

# Started in the background by a shell, tests would find Ctrl-C switched off, for themselves and what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no mistake of the code: speed belongs in benchmarks/.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
# For the same code on another Python or with other libraries: benchmarks/compatibility.py.
settings.register_profile("few", settings.get_profile("unhurried"), max_examples=15)


class Described(Probes):
    """Answers from lines such as `gpu: Tesla T4, 7.5, 15360` (MiB), `packages: torch=2.10.0 xformers`, `cores: 8`.

    `free: 2` and `memory: 16` are GiB; `gpu: none` is a machine without a card, no such line one that can't be told.
    torch is installed unless `packages:` says otherwise, and there is a C++ compiler but with `compiler: none`.
    """

    def __init__(self, text: str) -> None:
        lines = [line.partition(":") for line in filter(None, map(str.strip, text.splitlines()))]
        assert {name for name, _, _ in lines} <= {"gpu", "packages", "cores", "free", "memory", "compiler"}
        self.cards = [value.strip() for name, _, value in lines if name == "gpu"]
        self.facts = {name: value.strip() for name, _, value in lines if name != "gpu"}
        listed = self.facts.get("packages", "torch").split()
        self.packages = {name: version or "1.0" for name, _, version in (one.partition("=") for one in listed)}

    def gpus(self) -> tuple[Gpu, ...] | None:
        """Return the cards that are described."""
        if self.cards == ["none"]:
            return ()
        return parse_nvidia_smi("\n".join(self.cards)) if self.cards else None

    def installed(self, module: str) -> bool:
        """Say whether a package is described."""
        return self.version(module) is not None

    def version(self, package: str) -> str | None:
        """Return the version that is described."""
        return self.packages.get(package.replace("_", "-"))

    def free(self, folder: Path) -> int | None:
        """Return the described space, whatever the folder."""
        return self._number("free", 2**30)

    def memory(self) -> int | None:
        """Return the described memory."""
        return self._number("memory", 2**30)

    def cores(self) -> int | None:
        """Return the described cores."""
        return self._number("cores", 1)

    def compiler(self) -> bool:
        """Say whether a compiler is described."""
        return self.facts.get("compiler") != "none"

    def _number(self, name: str, unit: int) -> int | None:
        return int(self.facts[name]) * unit if name in self.facts else None


@pytest.fixture
def on_machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return the function that makes commands believe that they run on a described machine."""
    return lambda text: monkeypatch.setattr("lora_lab.lint.probes.Probes", lambda: Described(text))


@pytest.fixture
def described() -> Callable[[str], Machine]:
    """Return the function that makes a machine of its description."""
    return lambda text: Machine(Described(text))


@pytest.fixture(autouse=True, scope="session")
def _caches_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests cache out of the person's own folder; processes that are started know of it too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORA_LAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _patient() -> Iterator[None]:
    """Let trackers have the time that they need: a busy machine is no reason to fail."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "CLOSE_SECONDS", 900.0)
        yield


@pytest.fixture
def written() -> Callable[..., Path]:
    """Return the function that writes an entry of the cache by its description alone: one float32 tensor, sealed."""

    def write(folder: Path, key: str, numbers: list[float], kind: str = "latents", **said: str) -> Path:
        content = array("f", numbers).tobytes()
        metadata = {"key": key, "seal": seal(key, [Block("latent", "F32", (len(numbers),), content)]), **said}
        header = {"latent": {"dtype": "F32", "shape": [len(numbers)], "data_offsets": [0, len(content)]}}
        text = json.dumps({"__metadata__": metadata, **header}).encode()
        path = path_of(folder, kind, key)
        path.parent.mkdir(parents=True)
        path.write_bytes(struct.pack("<Q", len(text)) + text + content)
        return path

    return write
