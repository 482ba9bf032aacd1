"""A window that is closed while a run prints to it: the run ends after its step, and nobody hears of the window."""

import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

if sys.platform == "win32":
    pytest.skip("there are no such terminals on Windows", allow_module_level=True)
pytest.importorskip("rich", reason="the bars that a window is closed under are rich's")

from faults.terminals import Terminal

COMMAND = """
import click, signal, sys, time, types
from pathlib import Path
from lora_lab import cli
from lora_lab.cli import live
from lora_lab.cli.say import say
from lora_lab.failure import Stopped
from lora_lab.sweep.roles import RunProgress
from lora_lab.train import stop

@click.command()
def command():
    job = types.SimpleNamespace(run=types.SimpleNamespace(index=0, name="lumi"))
    watch = live.make_watch(1)
    Path("watch").write_text(type(watch).__name__)
    try:
        watch.started(job, "out")
        with stop.listening(watch.say) as asked:
            Path("ready").touch()
            for step in range(200):
                watch.progressed(job, RunProgress(step, 200, 0.1, None, "a notice", notice=step % 10 == 0))
                time.sleep(0.01)
                if Path("closed").exists() and step > 50:
                    break
            sys.stdout.write("what a library prints\\n")
            sys.stdout.flush()
            sys.stderr.write("what a library warns of\\n")
        if asked.number:
            raise Stopped("stopped after step 3 of 6", asked.number)
    finally:
        watch.close()
    say("trained")

signal.signal(signal.SIGHUP, signal.SIG_IGN if sys.argv[1] == "nohup" else signal.SIG_DFL)
sys.modules["lora_lab.cli.train"] = types.ModuleType("lora_lab.cli.train")
sys.modules["lora_lab.cli.train"].command = command
sys.argv = ["lora-lab", "train"]
try:
    cli.main()
except SystemExit as end:
    Path("code.part").write_text(str(end.code))
    Path("code.part").rename("code")
    raise
"""
"""What `lora-lab train` prints, and listens to, without the seconds that the trainer takes."""


@pytest.mark.parametrize("errors", ["in the window", "in a file"])
@pytest.mark.parametrize(("how", "wanted"), [("hangup", 129), ("nohup", 0)])
def test_a_closed_window(how: str, wanted: int, errors: str, tmp_path: Path) -> None:
    """SIGHUP ends a run as it should, with its exit code; one that ignores it goes on to its end; never a traceback."""
    with (tmp_path / "errors").open("wb") as file:
        command = [sys.executable, "-c", COMMAND, how]
        window = Terminal(command, tmp_path, {}, file if errors == "in a file" else None)
        window.read_until(lambda: (tmp_path / "ready").exists() and b"lumi" in window.said)
        window.close()
        (tmp_path / "closed").touch()
        assert window.process.wait(60) == wanted
    said = (tmp_path / "errors").read_text()
    assert (tmp_path / "watch").read_text() == "Bars"
    assert "Traceback" not in said
    assert "Exception" not in said
    assert ("stopped after step 3 of 6" in said) == (errors == "in a file" and how == "hangup")


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_a_closed_window_of_a_shell(tmp_path: Path) -> None:
    """A shell sends SIGHUP to its jobs, and the system once more when the shell has gone: that is one wish."""
    (tmp_path / "command.py").write_text(COMMAND)
    window = Terminal(["bash", "--norc", "--noprofile", "-i"], tmp_path, {})
    window.type(f"{shlex.quote(sys.executable)} command.py hangup\n")
    window.read_until(lambda: (tmp_path / "ready").exists() and b"lumi" in window.said)
    window.close()
    (tmp_path / "closed").touch()
    window.process.wait(60)
    end = time.monotonic() + 60
    while not (tmp_path / "code").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert (tmp_path / "code").read_text() == "129"


def test_a_closed_window_with_a_pipe(tmp_path: Path) -> None:
    """`lora-lab train 2>&1 | tee log`: where tee has gone with the window, the run ends all the same with its code."""
    command = [sys.executable, "-c", COMMAND, "hangup"]
    run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert run.stdout is not None
    while b"a notice" not in run.stdout.readline():
        assert run.poll() is None
    run.stdout.close()
    (tmp_path / "closed").touch()
    run.send_signal(signal.SIGHUP)
    assert run.wait(60) == 129
    assert (tmp_path / "watch").read_text() == "Lines"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
def test_a_full_disk_for_what_is_printed() -> None:
    """Where nothing more can be written a line says so."""
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "lora_lab", "explain", "alpha"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: what is printed cannot be written: No space left on device\n"
