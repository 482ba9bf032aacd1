"""A sweep that is killed and started again, with the real trainer."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "kill_sweep.py"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9 on Windows")
def test_a_killed_sweep_ends_like_an_undisturbed_one() -> None:
    """After kill -9 of the sweep and its workers, started again, each LoRA is the same to the byte, each told once."""
    command = [sys.executable, str(SCRIPT), "--runs", "4", "--steps", "6", "--kills", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 of 4 runs finished, 0 differ" in done.stdout
    assert "each run once, each step once" in done.stdout
