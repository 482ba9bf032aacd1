"""What the rules may know about the machine: asked when first wanted, kept, and shared by all files and runs."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar, cast

if TYPE_CHECKING:
    from lora_lab.lint.probes import Gpu, Probes

Kept = TypeVar("Kept")

_BEFORE_AMPERE: Final = re.compile(
    r"\b(GTX|TITAN|Quadro|RTX 20[678]0|Tesla [KMPTV]\d|[KMPTV](4|40|60|80|100)|T4G|GeForce (GT|\d{3}M?)"
    r"|T(400|500|550|600|1000|1200|2000))\b|Tesla [KMPTV]\d",
    re.IGNORECASE,
)
"""Names of cards of compute capability below 8.0, a list that no longer grows, for where only the name is known."""


class Machine:
    """A lazy view on this machine. None is what can't be told; rules stay silent then."""

    def __init__(self, probes: "Probes | None" = None) -> None:
        self._given = probes
        self._known: dict[tuple[object, ...], object] = {}

    @property
    def trains(self) -> bool:
        """Say whether anything is trained here: without torch it is a machine for writing configs, or for checks."""
        return self.installed("torch")

    @property
    def gpus(self) -> "tuple[Gpu, ...] | None":
        """Return the NVIDIA cards, none where there is none; None where another maker's card may be used."""
        return self._kept(("gpus",), lambda: self._probes.gpus())

    @property
    def gpu(self) -> "Gpu | None":
        """Return the card that a run would use: the first."""
        return self.gpus[0] if self.gpus else None

    @property
    def cpu_only(self) -> bool:
        """Say whether it is sure that there is no card to train on."""
        return self.gpus == ()

    def installed(self, module: str) -> bool:
        """Say whether a module could be imported."""
        return self._kept(("installed", module), lambda: self._probes.installed(module))

    def version(self, package: str) -> str | None:
        """Return the version of an installed package, None if it is missing."""
        return self._kept(("version", package), lambda: self._probes.version(package))

    def free(self, folder: Path) -> int | None:
        """Return the free bytes where a folder lies or will lie."""
        return self._kept(("free", str(folder)), lambda: self._probes.free(folder))

    @property
    def memory(self) -> int | None:
        """Return the bytes of main memory."""
        return self._kept(("memory",), lambda: self._probes.memory())

    @property
    def cores(self) -> int | None:
        """Return the processor cores that this process may use."""
        return self._kept(("cores",), lambda: self._probes.cores())

    @property
    def compiler(self) -> bool:
        """Say whether there is a C++ compiler."""
        return self._kept(("compiler",), lambda: self._probes.compiler())

    @property
    def torch_without_cuda(self) -> bool:
        """Say whether the installed torch was built without CUDA, which its version tells: 2.10.0+cpu."""
        return (self.version("torch") or "").endswith("+cpu")

    @property
    def _probes(self) -> "Probes":
        """Return what answers the questions; the real machine, unless another was given."""
        if self._given is None:
            from lora_lab.lint.probes import Probes  # noqa: PLC0415  # only if a rule asks

            self._given = Probes()
        return self._given

    def _kept(self, key: tuple[object, ...], ask: Callable[[], Kept]) -> Kept:
        """Return what was answered before, else ask; a key stands for one type."""
        if key not in self._known:
            self._known[key] = ask()
        return cast(Kept, self._known[key])


def has_bf16(gpu: "Gpu") -> bool | None:
    """Say whether a card computes in bf16: from compute capability 8.0 (Ampere) on. None if it can't be told."""
    if gpu.capability is not None:
        return gpu.capability >= (8, 0)
    return False if _BEFORE_AMPERE.search(gpu.name) else None
