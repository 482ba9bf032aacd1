"""How busy the machine is while a run trains, sampled in a thread beside the training.

MLflow's own sampler would need mlflow in the process that trains and would write to the tracker directly, past the
spool. The names are its names, so that MLflow shows them under "System metrics".
"""

import importlib.util
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from lora_lab.tracking.events import Record, SystemMetrics

FIRST_SECONDS = 2.0
EVERY_SECONDS = 10.0  # MLflow's own pace
GPU_QUERY = ("index", "uuid", "utilization.gpu", "memory.used", "memory.total", "power.draw")
MIB = 1.048576  # of a megabyte


class SystemSampler:
    """Tells every run that is being trained here how busy the machine is. Does nothing without psutil."""

    def __init__(self, sample: Callable[[], Mapping[str, float]] | None = None) -> None:
        """`sample` returns the figures; without it those of `sample_machine`."""
        self._sample = sample or (sample_machine if importlib.util.find_spec("psutil") else None)
        self._listeners: dict[int, tuple[Record, int]] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, record: Record, began_ms: int) -> None:
        """Tell `record` from now on; `began_ms` is when its run was first started (milliseconds since 1970)."""
        if self._sample is None:
            return
        with self._lock:
            self._listeners[id(record)] = (record, began_ms)
            if self._thread is None:
                self._wake = threading.Event()
                self._thread = threading.Thread(
                    target=self._work, args=(self._wake,), name="system-metrics", daemon=True
                )
                self._thread.start()

    def remove(self, record: Record) -> None:
        """Tell `record` nothing more; when this returns nothing is on its way."""
        with self._lock:
            self._listeners.pop(id(record), None)
            if not self._listeners:
                self._wake.set()
                self._thread = None

    def _work(self, over: threading.Event) -> None:
        assert self._sample is not None
        pause = FIRST_SECONDS
        self._measured()  # the CPU's figure is that since the last look
        while not over.wait(pause):
            values = self._measured()
            now = time.time_ns() // 1_000_000
            with self._lock:
                for record, began_ms in self._listeners.values() if values and not over.is_set() else ():
                    record(SystemMetrics(second=(now - began_ms) // 1000, values=values, time_ms=now))
            pause = EVERY_SECONDS

    def _measured(self) -> Mapping[str, float]:
        """Return the figures; a machine that can't be asked costs its figures, not the training."""
        try:
            return self._sample() if self._sample is not None else {}
        except Exception:
            return {}


def sample_machine() -> dict[str, float]:
    """Return processor use (percent, since the last call), memory (MB = 10⁶ bytes) and each visible GPU's figures."""
    import psutil

    memory = psutil.virtual_memory()
    return {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": round(memory.used / 1e6, 1),
        "system/system_memory_usage_percentage": memory.percent,
        "system/process_memory_usage_megabytes": round(psutil.Process().memory_info().rss / 1e6, 1),
        **_gpu_figures(),
    }


def _gpu_figures() -> dict[str, float]:
    """Ask nvidia-smi, which comes with the driver; nothing where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    command = [program, f"--query-gpu={','.join(GPU_QUERY)}", "--format=csv,noheader,nounits"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return parse_gpus(said.stdout, None if visible is None else visible.split(","))


def parse_gpus(text: str, visible: Sequence[str] | None) -> dict[str, float]:
    """Return the figures in nvidia-smi's answer to `GPU_QUERY`, of the GPUs that are visible, in their numbering.

    `visible` is CUDA_VISIBLE_DEVICES, numbers or UUIDs; None stands for all. What a card does not tell is left out.
    """
    cards = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    rows = [card for card in cards if len(card) == len(GPU_QUERY)]
    if visible is not None:
        names = [name.strip() for name in visible]
        rows = [row for name in names for row in rows if name and (row[0] == name or row[1].startswith(name))]
    found: dict[str, float] = {}
    for number, (_, _, used, memory, total, power) in enumerate(rows):
        values = {
            "utilization_percentage": _figure(used),
            "memory_usage_megabytes": _figure(memory, MIB),
            "memory_usage_percentage": _share(memory, total),
            "power_usage_watts": _figure(power),
        }
        found |= {f"system/gpu_{number}_{name}": value for name, value in values.items() if value is not None}
    return found


def _figure(text: str, unit: float = 1.0) -> float | None:
    try:
        return round(float(text) * unit, 1)
    except ValueError:  # "[N/A]"
        return None


def _share(part: str, whole: str) -> float | None:
    one, all_ = _figure(part), _figure(whole)
    return round(100 * one / all_, 1) if one is not None and all_ else None
