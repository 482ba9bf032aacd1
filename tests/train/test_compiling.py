"""torch.compile changes how a block is computed, and nothing else."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_lab.config import TrainConfig
from lora_lab.train import compiling

Make = Callable[..., TrainConfig]
_repeated = compiling.repeated
TrainPack = Callable[[Sequence[TrainConfig]], list[Any]]

pytestmark = pytest.mark.filterwarnings("ignore:::torch")  # the compiler uses what torch itself deprecates


@pytest.fixture(autouse=True)
def first_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile one block of four: a block takes a quarter of a minute."""
    monkeypatch.setattr(compiling, "repeated", lambda unet: islice(_repeated(unet), 1))


@pytest.fixture
def graphs() -> Iterator[Callable[[], int]]:
    """Return a function that says how many graphs were traced; those of other tests are forgotten."""
    import torch._dynamo.utils

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield lambda: torch._dynamo.utils.counters["stats"]["unique_graphs"]
    torch._dynamo.reset()


PACK: tuple[dict[str, object], ...] = (
    {"net_dim": 2, "test_seed": 1, "network_dropout": 0.3, "max_steps": 2},
    {"net_dim": 4, "test_seed": 2, "network_type": "loha", "unet_only": True, "max_steps": 3},
    {"net_dim": 3, "test_seed": 3, "use_dora": True, "rank_dropout": 0.2, "module_dropout": 0.2, "max_steps": 4},
)


def _is_like(other: Any, one: Any) -> None:
    """Compare two runs: compiled code rounds otherwise."""
    assert other.curve("loss") == pytest.approx(one.curve("loss"), rel=1e-4)
    assert other.tensors.keys() == one.tensors.keys()
    for name, tensor in one.tensors.items():
        torch.testing.assert_close(other.tensors[name], tensor, rtol=1e-3, atol=1e-4)


def test_compiled_learns_the_same(train: Callable[..., Any], graphs: Callable[[], int]) -> None:
    """A run whose blocks PyTorch's own compiler compiles learns what it learns uncompiled, and one after it is not."""
    plain, none = train(max_steps=2), graphs()
    compiled, some = train(max_steps=2, torch_compile=True), graphs()
    after = train(max_steps=2)
    assert (none, graphs()) == (0, some)
    assert some > 0
    _is_like(compiled, plain)
    _is_like(after, plain)


def test_a_pack_of_all_kinds_is_traced(
    make_config: Make, train_pack_of: TrainPack, graphs: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks of three kinds, with dropouts, that leave the pack one by one: traced, they learn what they learn so.

    What is traced is run as it is: to make machine code of each of the many pieces takes minutes.
    """
    monkeypatch.setattr(torch.nn.Module, "compile", functools.partialmethod(torch.nn.Module.compile, backend="eager"))
    plain = train_pack_of([make_config(**values) for values in PACK])
    traced = train_pack_of([make_config(**values, torch_compile=True) for values in PACK])
    assert graphs() > len(PACK)
    for one, other in zip(plain, traced, strict=True):
        _is_like(other, one)


def test_no_compiler(train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, graphs: Callable[[], int]) -> None:
    """Where nothing can be compiled, one line says why, and the run goes on without."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise RuntimeError("\nNo C++ compiler was found.\nmore")

    monkeypatch.setattr(torch, "compile", refuse)
    plain, asked = train(max_steps=1), train(max_steps=1, torch_compile=True)
    assert [p.message for p in asked.progress if "compile" in p.message] == [
        "torch_compile does not work on this machine, so nothing is compiled: No C++ compiler was found."
    ]
    assert graphs() == 0
    assert asked.curve("loss") == plain.curve("loss")


def test_compiled_code_lies_apart(tmp_path: Path) -> None:
    """What is compiled lies in a folder that only this process knows, and is gone when it ends."""
    code = (
        "import os, torch; from lora_lab.train import compiling;"
        "print(repr(compiling.what_is_missing(torch.device('cpu'))), os.environ[compiling.FOLDER])"
    )
    around = {**os.environ, "TMPDIR": str(tmp_path), "TEMP": str(tmp_path), "TMP": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=around, capture_output=True, text=True, check=True)
    missing, folder = done.stdout.split(maxsplit=1)
    assert missing == "''"
    assert Path(folder.strip()).parent == tmp_path
    assert list(tmp_path.glob("lora-lab-*")) + list(tmp_path.glob("torchinductor*")) == []
