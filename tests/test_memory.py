"""How much memory there is, and what says that there was not enough."""

import subprocess
import sys
from pathlib import Path

import pytest

from lora_lab import memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:119] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 20.00 MiB"),
    ],
)
def test_what_is_about_memory(error: Exception) -> None:
    """The ways in which Python, torch and CUDA's libraries say it."""
    assert memory.ran_out(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), OSError(28, "No space left"), ValueError("x")]
)
def test_what_is_not(error: Exception) -> None:
    """A full disk and mistakes in shapes are something else."""
    assert not memory.ran_out(error)


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit and /proc")
def test_a_limit_of_the_process_counts() -> None:
    """What ulimit leaves is what is available; torch's allocator fails there with an error that is recognised."""
    code = """if True:
        import resource, torch
        from lora_lab import memory
        free = memory.available()
        size = 4096 * int(open("/proc/self/statm").read().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (size + (300 << 20), size + (300 << 20)))
        assert memory.available() <= 300 << 20 < free, (free, memory.available())
        try:
            torch.zeros(400 << 20, dtype=torch.uint8)
        except Exception as error:
            assert memory.ran_out(error), error
        else:
            raise AssertionError
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_cgroups(tmp_path: Path) -> None:
    """The strictest group above the process decides, in either version; pages of files can be dropped."""
    top, own = tmp_path / "cgroup", tmp_path / "own"
    (top / "a" / "b").mkdir(parents=True)
    own.write_text("0::/a/b\n")
    (top / "a" / "memory.max").write_text("1000\n")
    (top / "a" / "memory.current").write_text("700\n")
    (top / "a" / "memory.stat").write_text("anon 500\ninactive_file 50\n")
    (top / "a" / "b" / "memory.max").write_text("max\n")
    (top / "a" / "b" / "memory.current").write_text("600\n")
    assert memory._cgroups(top, own) == [top / "a" / "b", top / "a", top]
    assert [memory._room_in(folder) for folder in memory._cgroups(top, own)] == [None, 350, None]

    own.write_text("5:cpu,memory:/x\n1:name=systemd:/\n")
    (top / "memory" / "x").mkdir(parents=True)
    (top / "memory" / "x" / "memory.limit_in_bytes").write_text("400\n")
    (top / "memory" / "x" / "memory.usage_in_bytes").write_text("100\n")
    assert [memory._room_in(folder) for folder in memory._cgroups(top, own)] == [300, None]


def test_a_process_ends_without_a_last_collection() -> None:
    """Of what stands in circles at the end nothing is looked through, so that nothing large is."""
    code = """if True:
        from lora_lab import memory
        class Circle:
            def __init__(self): self.me = self
            def __del__(self): print("collected", flush=True)
        {before}
        Circle()
    """
    for before, said in (("memory.no_last_collection()", ""), ("pass", "collected\n")):
        done = subprocess.run(
            [sys.executable, "-c", code.format(before=before)], capture_output=True, text=True, check=True
        )
        assert done.stdout == said
