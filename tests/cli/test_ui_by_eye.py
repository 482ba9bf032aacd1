"""What a person sees of a sweep in MLflow: a headless browser over MLflow's own server, as `lora-lab ui` opens it."""

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from lora_lab.tracking.server import Server, experiments, free_port, start_server
from lora_lab.tracking.target import Target
from lora_lab.tracking.view import runs_address

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(BROWSER is None or find_spec("playwright") is None, reason="no Chromium here, or no Playwright"),
]

RUNS = [f"net_dim={rank} unet_lr={rate}" for rate in ("0.0001", "0.001") for rank in (4, 8, 16)]  # best first
MILLISECONDS = 600_000.0  # that a busy machine may take


@pytest.fixture(scope="module")
def server(ranks_target: Target) -> Iterator[Server]:
    """MLflow's server over the sweep, as `lora-lab ui` starts it."""
    started = start_server(ranks_target, free_port(5400))
    yield started
    started.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """An empty page; whoever looks at it asks nothing outside this machine."""
    opened = browser.new_page(viewport={"width": 1800, "height": 1400})
    opened.set_default_timeout(MILLISECONDS)
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    yield opened
    opened.close()
    outside = [url for url in asked if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))]
    assert outside == []


@pytest.fixture(scope="module")
def landing(server: Server) -> str:
    """The address that `lora-lab ui` opens."""
    (found,) = (one for one in experiments(server.address) if one.name == "ranks")
    return runs_address(server.address, found.id)


def seen(page: Any, text: str) -> Any:
    """Wait until a text can be seen, and return it."""
    found = page.get_by_text(text, exact=True).locator("visible=true").first
    found.wait_for(state="visible")
    return found


def height(page: Any, text: str) -> float:
    """Return where a text is seen, in pixels from the top."""
    return float(seen(page, text).bounding_box()["y"])


def test_the_landing_table_shows_the_runs_best_first(page: Any, landing: str) -> None:
    """The runs themselves, one below the other, best first, with the varied parameters and the metric beside."""
    page.goto(landing)
    places = [height(page, name) for name in RUNS]
    assert places == sorted(places)
    assert len(set(places)) == len(RUNS)
    for column in ("net_dim", "unet_lr", "val_loss"):
        assert seen(page, column).bounding_box()["y"] < places[0]
    for value in ("4", "16", "0.0001"):
        seen(page, value)
    assert page.get_by_text("ranks", exact=True).locator("visible=true").count() < 4, "the parent is no row"
    page.get_by_text("matching runs").locator("visible=true").first.wait_for()


def test_one_click_shows_pictures_curves_and_parallel_coordinates(page: Any, landing: str) -> None:
    """The chart button of the table's page: pictures of all runs, curves, and the axes against the metric."""
    page.goto(landing)
    seen(page, RUNS[0])
    page.locator("label:has(input[value=CHART])").click()
    seen(page, "Image grid")
    pictures = page.locator("img[src*=sample_0]")
    pictures.nth(11).wait_for(state="attached")
    sizes = pictures.evaluate_all("all => all.map(one => [one.src, one.naturalWidth])")
    page.wait_for_function("[...document.querySelectorAll('img[src*=sample_0]')].every(one => one.naturalWidth > 0)")
    assert len(sizes) == 6 * 2
    assert all("step%2B20%2B" in source for source, _ in sizes), "the last pictures"
    page.get_by_text("Curves").locator("visible=true").first.wait_for()
    page.locator(".scatterlayer .trace").first.wait_for(state="visible")
    parallel = page.get_by_text("Parameters and result").first
    parallel.scroll_into_view_if_needed()
    lines = page.locator(".parcoords-line-layers canvas, .parcoords canvas, svg path.foreground, [class*=parcoords]")
    lines.first.wait_for(state="visible")
    assert page.get_by_text("img_folder=").count() == 0


def test_runs_can_be_compared(page: Any, landing: str) -> None:
    """All runs ticked, and "Compare": parallel coordinates of what was varied, of nothing else, and the runs."""
    page.goto(landing)
    seen(page, RUNS[0])
    page.get_by_role("checkbox").first.locator("xpath=..").click()
    page.get_by_role("button", name="Compare").click()
    seen(page, "Comparing 6 Runs from 1 Experiment")
    seen(page, "Parallel Coordinates Plot")
    page.locator(".js-plotly-plot .parcoords").first.wait_for(state="visible")
    chosen = page.locator("[class*=select-selection-item]").all_inner_texts()
    assert {"net_dim", "unet_lr"} <= set(chosen)
    assert "output_folder" not in chosen
    for name in RUNS[:2]:
        seen(page, name)


def test_the_registered_model_and_the_runs_own(page: Any, server: Server, landing: str) -> None:
    """The registered model's version has its alias, tags and source run; the experiment's models are listed."""
    page.goto(f"{server.address}/#/models/cats/versions/1")
    seen(page, "Version 1")
    for text in ("lora_lab.net_dim", "lora_lab.sweep", "Schema", RUNS[0]):
        seen(page, text)
    page.get_by_text("best").locator("visible=true").first.wait_for()
    page.goto(landing.replace("/runs?", "/models?"))
    page.get_by_text("READY").or_(page.get_by_text("Ready")).locator("visible=true").first.wait_for()
    assert page.get_by_text("l", exact=True).locator("visible=true").count() >= 1


def test_a_run_has_its_summary_and_files(page: Any, server: Server, ranks_target: Target) -> None:
    """A run's page shows the summary, and its files lie under Artifacts."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=ranks_target.uri)
    experiment = client.get_experiment_by_name("ranks").experiment_id
    (run,) = client.search_runs([experiment], f"attributes.run_name = '{RUNS[0]}'")
    page.goto(f"{server.address}/#/experiments/{experiment}/runs/{run.info.run_id}")
    page.get_by_text("LL399 warning: ranks are even").locator("visible=true").first.wait_for()
    page.goto(f"{server.address}/#/experiments/{experiment}/runs/{run.info.run_id}/artifacts")
    for name in ("contact_sheet.png", "dataset.json", "lint.json", "lora"):
        seen(page, name)
