"""A sweep of 500 runs × 2,000 steps in MLflow: how long shipping takes, and how soon a browser shows it.

`python benchmarks/mlflow_500.py [RUNS] [STEPS]`. Writes the spools of such a sweep (four numbers a step, twenty
validations, 70 parameters, a picture at the end), ships them through our own way into an SQLite database, starts
MLflow's server as `lora-lab ui` does, and measures with headless Chromium and Playwright until the landing table has
its rows and until the chart page has its curves and pictures. 40 × 2,000 takes a minute or two on a calm
machine, 500 × 100 about three.
"""

import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from lora_lab.config import PARAMETERS
from lora_lab.tracking.events import Metrics, RunEnded, RunStarted, SamplePicture
from lora_lab.tracking.server import experiments, free_port, start_server
from lora_lab.tracking.ship import Shipper
from lora_lab.tracking.spool import Spool
from lora_lab.tracking.target import Target, choose_target
from lora_lab.tracking.view import AXES_TAG, METRIC_TAG, PICTURES_TAG, join_pictures, runs_address

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
RANKS = (4, 8, 16, 32, 64)
LOOKS = 3


def write_sweep(folder: Path, runs: int, steps: int) -> list[Path]:
    """Write the spools of a sweep; return their folders, the parent's first."""
    parent = Spool(folder, "many", None, print)
    tags = {"lora_lab.run": "sweep", "lora_lab.sweep": "many", AXES_TAG: "net_dim,unet_lr", METRIC_TAG: "val_loss"}
    tags[PICTURES_TAG] = join_pictures(["sample_00"], steps)
    parent(RunStarted(name="many", params={}, tags=tags))
    parent(RunEnded(status="FINISHED"))
    parent.close()
    folders = [folder]
    for number in range(runs):
        rank, rate = RANKS[number % len(RANKS)], 1e-5 * (1 + number // len(RANKS))
        place = folder / f"run{number + 1}"
        spool = Spool(place, "many", folder, print)
        params = {**dict.fromkeys(PARAMETERS, "null"), "net_dim": str(rank), "unet_lr": f"{rate:g}"}
        spool(RunStarted(name=f"net_dim={rank} unet_lr={rate:g}", params=params, tags={"lora_lab.sweep": "many"}))
        for step in range(1, steps + 1):
            now = 1_700_000_000_000 + step * 1000
            values = {"loss": 1 / step + rate, "grad_norm": 1 / step, "lr/unet": rate, "lr/text": rate}
            spool(Metrics(step=step, values=values, time_ms=now))
            if step % max(1, steps // 20) == 0:
                spool(Metrics(step=step, values={"val_loss": rank / step + rate}, time_ms=now))
        picture = place / "last.png"
        Image.new("RGB", (128, 128), (number % 255, rank * 3, 90)).save(picture)
        spool(SamplePicture(step=steps, key="sample_00", path=picture))
        spool(RunEnded(status="FINISHED"))
        spool.close()
        folders.append(place)
    return folders


def ship(folders: list[Path], target: Target) -> float:
    """Ship the spools; return the seconds."""
    began = time.perf_counter()
    shipper = Shipper(target, print)
    for folder in folders:
        shipper.add(folder)
    assert shipper.close(None)
    return time.perf_counter() - began


def until_table(page: Any, address: str) -> float:
    """Open the landing table; return the seconds until a row with its metric is seen."""
    began = time.perf_counter()
    page.goto("about:blank")
    page.goto(address)
    page.get_by_text("net_dim=4 unet_lr=1e-05", exact=True).locator("visible=true").first.wait_for()
    page.get_by_text("val_loss", exact=True).locator("visible=true").first.wait_for()
    return time.perf_counter() - began


def until_charts(page: Any, address: str) -> float:
    """Open the chart page; return the seconds until its curves and pictures are seen."""
    began = time.perf_counter()
    page.goto("about:blank")
    page.goto(address)
    page.locator(".scatterlayer .trace").first.wait_for(state="visible")
    page.wait_for_function("[...document.querySelectorAll('img[src*=sample_0]')].some(one => one.naturalWidth > 0)")
    return time.perf_counter() - began


def main() -> None:
    """Write, ship, look; print a table."""
    runs, steps = (int(word) for word in [*sys.argv[1:], *["500", "2000"][len(sys.argv) - 1 :]])
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.perf_counter()
        folders = write_sweep(folder / "many", runs, steps)
        written = time.perf_counter() - began
        spooled = sum((one / "events.jsonl").stat().st_size for one in folders)
        target = choose_target(f"sqlite:///{folder}/mlflow.db")
        own = time.process_time()
        seconds = ship(folders, target)
        own = time.process_time() - own
        numbers = runs * (steps * 4 + 20)
        print(f"{runs} runs × {steps} steps: {numbers:,} numbers, {spooled / 1e6:.0f} MB spooled in {written:.1f} s")
        print(f"shipped in {seconds:.1f} s ({own:.1f} s of the processor): {numbers / seconds:,.0f} numbers a second,")
        print(f"  a database of {(folder / 'mlflow.db').stat().st_size / 1e6:.0f} MB")
        server = start_server(target, free_port(5450))
        try:
            look(server.address)
        finally:
            server.stop()


def look(address: str) -> None:
    """Measure with a browser."""
    (found,) = (one for one in experiments(address) if one.name == "many")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1800, "height": 1400})
        page.set_default_timeout(600_000.0)
        for kind, until in (("table", until_table), ("charts", until_charts)):
            where = runs_address(address, found.id, chart=kind == "charts")
            times = [until(page, where) for _ in range(LOOKS)]
            print(f"{kind} seen after {', '.join(f'{one:.1f}' for one in times)} s")
        browser.close()


if __name__ == "__main__":
    main()
