"""What the linter knows of the machine: asked once, only when wanted, and read right."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_lab.lint import Disk, lint_values, probes
from lora_lab.lint.machine import Machine, has_bf16
from lora_lab.lint.probes import Gpu, Probes, parse_nvidia_smi, visible

OLD = [
    *("Tesla T4", "Tesla V100-SXM2-16GB", "Tesla P100-PCIE-16GB", "Tesla K80", "NVIDIA TITAN RTX", "Quadro RTX 6000"),
    *("NVIDIA GeForce GTX 1080 Ti", "NVIDIA GeForce RTX 2080 Ti", "NVIDIA GeForce RTX 2060 SUPER", "NVIDIA T1000 8GB"),
]
OTHERS = [
    *(
        "NVIDIA GeForce RTX 3060",
        "NVIDIA A100-SXM4-40GB",
        "NVIDIA L4",
        "NVIDIA H200",
        "NVIDIA RTX A6000",
        "NVIDIA A10G",
    ),
    *("NVIDIA RTX 4000 SFF Ada Generation", "NVIDIA GeForce RTX 2050", "NVIDIA RTX PRO 6000 Blackwell", "NVIDIA GB10"),
]


def test_nvidia_smi_is_read() -> None:
    """Lines as nvidia-smi writes them, of today's drivers and of old ones; what is odd is left out."""
    text = "Tesla T4, 7.5, 15360\nNVIDIA A100-SXM4-40GB, 8.0, 40960\n"
    assert parse_nvidia_smi(text) == (
        Gpu("Tesla T4", (7, 5), 15360 * 2**20),
        Gpu("NVIDIA A100-SXM4-40GB", (8, 0), 40960 * 2**20),
    )
    assert parse_nvidia_smi("Tesla K80, 11441") == (Gpu("Tesla K80", None, 11441 * 2**20),)
    assert parse_nvidia_smi("NVIDIA GB10, 12.1, [N/A]") == (Gpu("NVIDIA GB10", (12, 1), None),)
    assert parse_nvidia_smi("\n") == ()


@pytest.mark.parametrize("name", OLD)
def test_old_cards_have_no_bf16(name: str) -> None:
    """Cards before Ampere are known by name where the capability is not."""
    assert has_bf16(Gpu(name)) is False


@pytest.mark.parametrize("name", OTHERS)
def test_a_name_is_not_taken_for_an_old_one(name: str) -> None:
    """Nothing is said of a card that is not surely old."""
    assert has_bf16(Gpu(name)) is None


def test_capability_decides() -> None:
    """8.0 is where bf16 begins."""
    assert has_bf16(Gpu("x", (8, 0)))
    assert has_bf16(Gpu("x", (7, 5))) is False
    assert has_bf16(Gpu("Tesla T4", (12, 0)))


def test_visible_cards() -> None:
    """CUDA_VISIBLE_DEVICES chooses and orders; empty, -1 or a number too high hides the rest."""
    one, two = Gpu("a"), Gpu("b")
    assert visible((one, two), None) == (one, two)
    assert visible((one, two), "1") == (two,)
    assert visible((one, two), "1,0") == (two, one)
    assert visible((one, two), "") == ()
    assert visible((one, two), "-1") == ()
    assert visible((one, two), "0,5,1") == (one,)
    assert visible((one, two), "GPU-8932f937") == (one, two)


class Counting(Probes):
    """Counts the questions."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def gpus(self) -> tuple[Gpu, ...] | None:
        """Note the question."""
        self.asked.append("gpus")
        return ()

    def installed(self, module: str) -> bool:
        """Note the question."""
        self.asked.append(module)
        return True


def test_questions_are_asked_once() -> None:
    """However many runs ask."""
    counting = Counting()
    machine = Machine(counting)
    for _ in range(3):
        assert machine.cpu_only
        assert machine.installed("torch")
    assert counting.asked == ["gpus", "torch"]


def test_nothing_is_asked_where_no_run_is_meant(tmp_path: Path) -> None:
    """Without torch, or without the base model, no tool is called."""
    counting = Counting()
    lint_values({"base_model": "gone", "num_workers": 9}, tmp_path, Disk(tmp_path), Machine(counting))
    assert counting.asked == ["torch"]


def test_without_torch_nothing_is_said(described: Callable[[str], Machine], tmp_path: Path) -> None:
    """A machine that trains nothing is not judged: configs are written and checked there."""
    values = {
        "base_model": "b",
        "mixed_precision": "fp16",
        "optimizer_type": "Prodigy",
        "xformers": True,
        "num_workers": 64,
    }

    def codes(packages: str) -> set[str]:
        machine = described(f"gpu: none\ncores: 2\npackages: {packages}")
        return {finding.code for finding in lint_values(values, tmp_path, None, machine).findings}

    assert {"LL771", "LL772", "LL773", "LL775"} <= codes("torch")
    assert not {code for code in codes("click") if code.startswith(("LL77", "LL78"))}


def test_a_config_for_another_machine_is_not_judged(described: Callable[[str], Machine], tmp_path: Path) -> None:
    """Where the base model is not here, neither is the run."""
    values = {"mixed_precision": "fp16", "base_model": "base"}
    machine, disk = described("gpu: none"), Disk(tmp_path)
    assert "LL771" not in {finding.code for finding in lint_values(values, tmp_path, disk, machine).findings}
    (tmp_path / "base").mkdir()
    found = lint_values(values, tmp_path, Disk(tmp_path), machine).findings
    assert "LL771" in {finding.code for finding in found}


def test_the_real_machine_answers(tmp_path: Path) -> None:
    """Whatever machine the tests run on: nothing is raised, and what is sure is right."""
    machine = Machine()
    assert machine.installed("click")
    assert not machine.installed("no_such_module_here")
    assert not machine.installed("")
    assert machine.version("no-such-package-here") is None
    assert machine.version("click")
    assert (machine.cores or 0) >= 1
    assert (machine.memory or 2**30) > 2**20
    assert (machine.free(tmp_path / "not" / "there") or 0) > 0
    assert machine.gpus is None or all(card.name for card in machine.gpus)


def test_a_tool_that_hangs_or_fails_is_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """nvidia-smi without a driver exits with an error, and may hang with a broken one."""

    def hangs(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("nvidia-smi", 5)

    monkeypatch.setattr(subprocess, "run", hangs)
    assert probes._answer(["nvidia-smi"]) is None
    monkeypatch.undo()
    assert probes._answer(["false"]) is None
    assert probes._answer(["no-such-program-here"]) is None
    assert probes._answer(["echo", "x"]) == "x\n"


def test_a_lora_as_base_is_told_once(tmp_path: Path, described: Callable[[str], Machine]) -> None:
    """What stands in the base's place by mistake is not judged as a base as well."""
    header = b'{"lora_unet_a_attn2_to_k.lora_down.weight": {"dtype": "F16", "shape": [8, 2048]}}'
    (tmp_path / "style.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    values = {"base_model": "style.safetensors", "clip_skip": 2, "v2": True}
    found = lint_values(values, tmp_path, Disk(tmp_path), described("gpu: none")).findings
    assert [finding.code for finding in found if finding.code.startswith(("LL72", "LL78", "LL9"))] == ["LL724"]
