"""How quick comparing is with many runs: `python benchmarks/compare_500.py [RUNS] [STEPS]`.

Writes a sweep of 500 runs × 2,000 logged steps (and 20 validations, two pictures each) with the project's own writers
into a temporary folder, then calls the command line as a person does: `lora-lab compare`, `compare --html` and `best`,
each in a process of its own. Prints wall and CPU seconds, the peak memory and the size of the page.
"""

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from lora_lab.config import check
from lora_lab.sweep.grid import Metric
from lora_lab.sweep.plan import Plan, PlannedRun
from lora_lab.sweep.roles import Job
from lora_lab.sweep.run_folder import CONFIG, LINT, RunRecord, claim, write_record
from lora_lab.sweep.sweep_record import write_sweep
from lora_lab.tracking.describe import run_started
from lora_lab.tracking.events import VALIDATION_SET, Metrics, RunEnded, SamplePicture
from lora_lab.tracking.spool import Spool

BASE = {"base_model": "/m", "img_folder": "/d", "output_folder": "/o", "validation_split": 0.1}
RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
RANKS = (4, 8, 16, 32, 64)


def write_run(folder: Path, axes: dict[str, object], steps: int, sweep: Path, pictures: list[Path]) -> None:
    """Write what a run of so many steps leaves."""
    draws = random.Random(str(axes))
    config = check({**BASE, **axes}).config
    spool = Spool(folder, sweep.name, sweep, print)
    spool(run_started(config, name=name_of(axes), tags={VALIDATION_SET: "base=1 pictures=1"}))
    level = 0.1 + abs(RATES.index(axes["learning_rate"]) - 2) / 50 + draws.gauss(0, 0.004)
    for step in range(1, steps + 1):
        loss = level + 0.3 / step + abs(draws.gauss(0, 0.03))
        values = {"loss": loss, "grad_norm": draws.random(), "lr/unet": 1e-4, "lr/text_encoder": 5e-5}
        if step % 10 == 0:
            values["images_per_second"] = 7.5
        spool(Metrics(step=step, values=values, time_ms=1_700_000_000_000 + step))
        if step % max(steps // 20, 1) == 0:
            spool(Metrics(step=step, values={"val_loss": level + 1 / step}, time_ms=1_700_000_000_000 + step))
    for number, path in enumerate(pictures):
        spool(SamplePicture(step=steps, key=f"sample_{number:02d}", path=path))
    spool(RunEnded(status="FINISHED"))
    spool.close()
    (folder / CONFIG).write_text(json.dumps(config.model_dump(mode="json"), indent=2))
    (folder / LINT).write_text("[]")
    (folder / "l.safetensors").write_bytes(b"lora")
    metrics = {"loss": loss, "val_loss": level + 1 / steps}
    record = RunRecord(
        identity=name_of(axes),
        name=name_of(axes),
        status="FINISHED",
        axes=axes,
        metrics=metrics,
        lora="l.safetensors",
        steps=steps,
        seconds=600.0,
        validation="base=1 pictures=1",
    )
    write_record(folder, record)


def name_of(axes: dict[str, object]) -> str:
    """Return what a run is called."""
    return " ".join(f"{key}={value}" for key, value in axes.items())


def write(folder: Path, runs: int, steps: int) -> Path:
    """Write the sweep and return its folder."""
    sweep = folder / "many"
    points = [
        {"learning_rate": RATES[n % 5], "net_dim": RANKS[n // 5 % 5], "test_seed": n // 25 + 1} for n in range(runs)
    ]
    jobs = [Job(PlannedRun(n, name_of(one), one, BASE), check({}).config, name_of(one)) for n, one in enumerate(points)]
    write_sweep(sweep, Plan("many", Metric(), ("learning_rate", "net_dim", "test_seed"), ()), jobs)
    pictures = []
    for number in range(2):
        pictures.append(sweep / f"{number}.png")
        Image.effect_noise((512, 512), 50).convert("RGB").save(pictures[-1])
    for axes in points:
        write_run(claim(sweep), axes, steps, sweep, pictures)
    return sweep


def main() -> None:
    """Write, call, print."""
    runs, steps = (int(word) for word in [*sys.argv[1:], *("500", "2000")[len(sys.argv) - 1 :]])
    with tempfile.TemporaryDirectory() as name:
        began = time.perf_counter()
        sweep = write(Path(name), runs, steps)
        size = sum(path.stat().st_size for path in sweep.rglob("*.jsonl")) / 1e6
        print(f"{runs} runs x {steps} steps: {size:.0f} MB of events, written in {time.perf_counter() - began:.0f} s")
        print(f"load {os.getloadavg()[0]:.1f}\n\n{'command':<28} {'wall s':>7} {'CPU s':>7} {'peak MB':>8}")
        page = Path(name) / "report.html"
        for words in (["compare"], ["compare", "--json"], ["compare", "--html", str(page)], ["best"], ["status"]):
            call([words[0], str(sweep), *words[1:]], " ".join(words[:2]))
        print(f"\npage: {page.stat().st_size / 1e6:.2f} MB")


def call(words: list[str], title: str) -> None:
    """Run the command line in a process of its own and print what it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    code = "import sys, resource; from lora_lab.cli import group; group(sys.argv[1:], standalone_mode=False); "
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return
    print(f"{title:<28} {wall:>7.1f} {cpu:>7.1f} {int(done.stderr.split()[-1]) / 1024:>8.0f}")


if __name__ == "__main__":
    main()
